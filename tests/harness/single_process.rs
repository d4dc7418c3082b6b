//! A `quorate serve all --embedded` of its own process, and what the system says about it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use quorate_kit::random32;
use reqwest::Method;

use crate::components;
use crate::embedded::{Caller, KEY};

/// A running server. It is killed with this value.
pub struct Server {
    child: Child,
    /// Calls it.
    pub caller: Caller,
    /// When it was started.
    pub started: Instant,
}

/// CPU time of a process, in seconds, by where it was spent.
#[derive(Clone, Copy)]
pub struct CpuTime {
    /// On sandbox threads.
    pub inside: f64,
    /// On all others.
    pub outside: f64,
}

impl Server {
    /// Starts a server on this data folder.
    #[must_use]
    pub fn start(data: &Path, parties: u16) -> Self {
        Self::start_with(data, parties, &components::folder().join("dkls23.wasm"))
    }

    /// Starts a server with this component.
    #[must_use]
    pub fn start_with(data: &Path, parties: u16, plugin: &Path) -> Self {
        let address = free_address();
        let mut command = command(data, parties, address);
        command.arg("--plugin").arg(plugin);
        Self::of(command, address)
    }

    /// Starts a server by a command, which listens on this address.
    #[must_use]
    pub fn of(mut command: Command, address: SocketAddr) -> Self {
        let started = Instant::now();
        Self { child: command.spawn().unwrap(), caller: Caller::new(address), started }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        let kill = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// Waits for the end of the process, and says whether it ended well.
    pub fn ended_well(&mut self) -> bool {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            assert!(Instant::now() < until, "the process does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the first answer, and says how long it took since the start.
    pub async fn first_answer(&self) -> Duration {
        loop {
            if self.caller.bare(Method::GET, "/health").send().await.is_ok_and(|r| r.status().is_success()) {
                return self.started.elapsed();
            }
            assert!(self.started.elapsed() < Duration::from_secs(60), "the server does not answer");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// CPU time so far: that of sandbox threads, and that of all others.
    #[must_use]
    pub fn cpu_time(&self) -> CpuTime {
        let (mut inside, mut outside) = (0.0, 0.0);
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap() {
            let folder = task.unwrap().path();
            let name = std::fs::read_to_string(folder.join("comm")).unwrap_or_default();
            let stat = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
            let time = ticks(&stat);
            if ["interactive", "background"].contains(&name.trim()) {
                inside += time
            } else {
                outside += time
            }
        }
        CpuTime { inside, outside }
    }

    /// Resident memory, in MiB.
    #[must_use]
    pub fn memory(&self) -> f64 {
        memory_of(self.child.id())
    }
}

/// Resident memory of a process, in MiB.
#[must_use]
pub fn memory_of(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// The program. It lies where cargo has put this program, or one folder up.
///
/// # Panics
/// When there is none, or when it is older than its sources: `cargo test` alone does not build it.
#[must_use]
pub fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let find = || {
        let here = std::env::current_exe().unwrap();
        let mut folders = here.ancestors().skip(1).map(|folder| folder.join("quorate"));
        let found = folders.find(|path| path.is_file());
        let found = found.unwrap_or_else(|| panic!("no quorate program: run `make build`"));
        if let Some(source) = newer_source(&found) {
            panic!("the quorate program is older than {}: run `make build`", source.display());
        }
        found
    };
    PROGRAM.get_or_init(find).clone()
}

/// A source that has changed since a program was built, by the list that cargo writes beside the program.
///
/// # Panics
/// When there is no such program.
#[must_use]
pub fn newer_source(program: &Path) -> Option<PathBuf> {
    let changed = |path: &Path| std::fs::metadata(path)?.modified();
    let built = changed(program).unwrap();
    let listed = std::fs::read_to_string(program.with_extension("d")).unwrap_or_default();
    let sources = listed.split_once(": ").map_or("", |(_, sources)| sources);
    let mut sources = sources.split_whitespace().map(PathBuf::from);
    sources.find(|source| changed(source).is_ok_and(|changed| changed > built))
}

/// The program, to serve on a data folder and an address.
#[must_use]
pub fn command(data: &Path, parties: u16, address: SocketAddr) -> Command {
    let mut command = Command::new(program());
    command
        .args(["serve", "all", "--embedded", "--listen", &address.to_string()])
        .args(["--parties", &parties.to_string(), "--data"])
        .arg(data)
        .env("MPC_API_KEY", KEY)
        .env("QUORATE_LOG", "error")
        .stdout(Stdio::null());
    command
}

/// User and system time of a thread, in seconds.
fn ticks(stat: &str) -> f64 {
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |index: usize| fields.get(index).and_then(|f| f.parse::<f64>().ok()).unwrap_or_default();
    // The clock of /proc ticks a hundred times a second on every Linux that we know.
    (field(11) + field(12)) / 100.0
}

/// An address on which no process listens, that the system gives to no outgoing connection and that no other test
/// gets: a process may be killed and start again on it. The port after it is as free.
#[must_use]
pub fn free_address() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let random = u16::from_be_bytes([random32()[0], random32()[1]]);
        let port = 10_000 + random % 11_000 * 2;
        let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        // Ports that were given are not tried: their process may be about to start again.
        if GIVEN.lock().unwrap().insert(port) && free(port) && free(port + 1) {
            return (Ipv4Addr::LOCALHOST, port).into();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
