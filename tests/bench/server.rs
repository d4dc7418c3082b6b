//! A `quorate serve all --embedded` of its own process, and what the system says about it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quorate_tests::components;
use quorate_tests::deployment::{Caller, KEY};
use reqwest::Method;

/// A running server. It ends with this value.
pub(crate) struct Server {
    child: Child,
    pub(crate) caller: Caller,
    pub(crate) started: Instant,
}

/// CPU time of a process, in seconds, by where it was spent.
#[derive(Clone, Copy)]
pub(crate) struct CpuTime {
    pub(crate) inside: f64,
    pub(crate) outside: f64,
}

impl Server {
    /// Starts a server on this data folder.
    pub(crate) fn start(data: &Path, parties: u16) -> Self {
        let program = std::env::current_exe().unwrap().with_file_name("quorate");
        let address = free_address();
        let started = Instant::now();
        let child = Command::new(&program)
            .args(["serve", "all", "--embedded", "--listen", &address.to_string()])
            .args(["--parties", &parties.to_string(), "--data"])
            .arg(data)
            .arg("--plugin")
            .arg(components::folder().join("dkls23.wasm"))
            .env("MPC_API_KEY", KEY)
            .env("QUORATE_LOG", "error")
            .stdout(Stdio::null())
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("{}: {error}: run `make bench`", program.display()));
        Self { child, caller: Caller::new(address), started }
    }

    /// Waits for the first answer, and says how long it took since the start.
    pub(crate) async fn first_answer(&self) -> Duration {
        loop {
            if self.caller.bare(Method::GET, "/health").send().await.is_ok_and(|r| r.status().is_success()) {
                return self.started.elapsed();
            }
            assert!(self.started.elapsed() < Duration::from_secs(60), "the server does not answer");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// CPU time so far: that of sandbox threads, and that of all others.
    pub(crate) fn cpu_time(&self) -> CpuTime {
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
    pub(crate) fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

/// User and system time of a thread, in seconds.
fn ticks(stat: &str) -> f64 {
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |index: usize| fields.get(index).and_then(|f| f.parse::<f64>().ok()).unwrap_or_default();
    // The clock of /proc ticks a hundred times a second on every Linux that we know.
    (field(11) + field(12)) / 100.0
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs async measurements.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(work)
}
