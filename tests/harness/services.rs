//! The servers that tests run against. `make test` starts them and names them; see `tests/services.sh`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// How long a server may take to start: RabbitMQ took more than a minute on two processors that other tests used too.
const START_TIMEOUT: Duration = Duration::from_secs(180);

/// The address of a server.
#[must_use]
pub fn service(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run `make test`, or tests/services.sh COMMAND"))
}

/// A name that no other test uses, of this run or of another one.
#[must_use]
pub fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("quorate_{}_{nanos}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Databases of one test on a PostgreSQL server. They are dropped with this value.
pub struct Databases {
    server: String,
    names: Vec<String>,
}

impl Databases {
    /// Makes that many on a server.
    pub async fn create(server: String, count: usize) -> Self {
        let names = (0..count).map(|_| unique()).collect();
        let databases = Self { server, names };
        for name in &databases.names {
            databases.run(&format!("CREATE DATABASE {name}")).await;
        }
        databases
    }

    /// Drops one of them with all that is in it, and makes it anew.
    pub async fn recreate(&self, index: usize) {
        let name = &self.names[index];
        self.run(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
        self.run(&format!("CREATE DATABASE {name}")).await;
    }

    /// The address of one of them.
    #[must_use]
    pub fn url(&self, index: usize) -> String {
        let (server, _) = self.server.rsplit_once('/').unwrap();
        format!("{server}/{}", self.names[index])
    }

    async fn run(&self, statement: &str) {
        let mut connection = PgConnection::connect(&self.server).await.unwrap();
        sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

impl Drop for Databases {
    fn drop(&mut self) {
        // The test's runtime may be about to end: this has one of its own. A server that is gone took them along.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let Ok(mut connection) = PgConnection::connect(&self.server).await else { return };
                    for name in &self.names {
                        let drop = AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
                        let _ = sqlx::query(drop).execute(&mut connection).await;
                    }
                });
            });
        });
    }
}

/// A server of one test, which the test may stop and start. It is killed with this value.
pub struct OwnServer {
    service: &'static str,
    port: u16,
    folder: tempfile::TempDir,
    child: Option<std::process::Child>,
}

impl OwnServer {
    /// Starts `postgres`, `rabbitmq` or `redis`.
    pub async fn start(service: &'static str) -> Self {
        let mut server = Self::prepare(service);
        server.go().await;
        server
    }

    /// RabbitMQ that is not started yet: see [`OwnServer::define`].
    #[must_use]
    pub fn prepare_rabbitmq() -> Self {
        Self::prepare("rabbitmq")
    }

    /// Has RabbitMQ read definitions when it starts.
    pub fn define(&self, definitions: &str) {
        let folder = self.folder.path().join("data");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("definitions.json");
        std::fs::write(&file, definitions).unwrap();
        let setting = format!("load_definitions = {}\n", file.display());
        std::fs::write(folder.join("own.conf"), setting).unwrap();
    }

    fn prepare(service: &'static str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        // PostgreSQL does not run as root: another user must get to its folder.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { service, port: crate::single_process::free_address().port(), folder, child: None }
    }

    /// Its address, for a user with a password.
    #[must_use]
    pub fn url_of(&self, user: &str, password: &str) -> String {
        format!("amqp://{user}:{password}@127.0.0.1:{}", self.port)
    }

    /// Starts it again, on the same data and port.
    pub async fn go(&mut self) {
        use std::os::unix::process::CommandExt;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/services.sh");
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let mut command = std::process::Command::new(script);
        command.args(["run", self.service]).arg(self.folder.path().join("data")).arg(self.port.to_string());
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        // A group of its own: all its processes are stopped together.
        self.child = Some(command.process_group(0).spawn().unwrap());
        let began = std::time::Instant::now();
        while !self.answers().await {
            assert!(began.elapsed() < START_TIMEOUT, "{} does not start", self.service);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Kills it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = std::process::Command::new("kill")
                .args(["-KILL", "--", &format!("-{}", child.id())])
                .status();
            let _ = child.wait();
        }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        let port = self.port;
        match self.service {
            "postgres" => format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            "rabbitmq" => format!("amqp://guest:guest@127.0.0.1:{port}"),
            _ => format!("redis://127.0.0.1:{port}"),
        }
    }

    async fn answers(&self) -> bool {
        if self.service == "postgres" {
            // Its port is open before it lets anybody in.
            return PgConnection::connect(&self.url()).await.is_ok();
        }
        tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
    }
}
