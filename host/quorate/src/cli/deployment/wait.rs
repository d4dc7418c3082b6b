//! `quorate deployment wait`: reads states of containers from standard input until all that are wanted are healthy.
//!
//! `deploy.sh` sends a snapshot every half second: a line `SERVICE STATUS` for each container, as `docker ps` words
//! the status, and an empty line at the end.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use clap::Args;

use crate::cli::output::{CliError, print};

/// The most lines that wait to be read.
const MAX_WAITING_LINES: usize = 256;

/// The shortest wait: the engine needs time for one answer.
const MIN_WAIT_DURATION: Duration = Duration::from_secs(5);

/// The arguments of `wait`.
#[derive(Args)]
pub(super) struct WaitArguments {
    /// How long, in seconds
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    seconds: u64,
    /// Only until none of them is unhealthy, and without a failure if one stays so
    #[arg(long)]
    recovery: bool,
    /// Compose has failed: what is not starting by now does not come up
    #[arg(long)]
    compose_failed: bool,
    /// The services
    #[arg(required = true)]
    services: Vec<String>,
}

/// The health of a container, as the engine words it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ContainerHealth {
    Healthy,
    Starting,
    Unhealthy,
    /// It does not run, or has no health check.
    Other,
}

impl ContainerHealth {
    fn of(status: &str) -> Self {
        match status {
            _ if status.contains("(healthy)") => Self::Healthy,
            _ if status.contains("(health: starting)") => Self::Starting,
            _ if status.contains("(unhealthy)") => Self::Unhealthy,
            _ => Self::Other,
        }
    }
}

/// Waits. Prints the services that are not healthy at the end, a line each, and fails if there is one.
pub(super) fn wait(arguments: &WaitArguments) -> Result<(), CliError> {
    let deadline = Instant::now() + Duration::from_secs(arguments.seconds).max(MIN_WAIT_DURATION);
    let missing = wait_until(deadline, arguments, &lines_of_stdin());
    if missing.is_empty() || arguments.recovery {
        return Ok(());
    }
    for service in &missing {
        print(service)?;
    }
    Err(format!("not healthy: {}", missing.join(" ")).into())
}

/// The lines of standard input. A thread of its own reads them: the deadline holds whether or not the engine answers.
fn lines_of_stdin() -> Receiver<String> {
    let (sender, lines) = sync_channel(MAX_WAITING_LINES);
    std::thread::spawn(move || {
        // Ends with the input, or with the receiver.
        std::io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    lines
}

/// Reads snapshots until the services are as wanted, or the deadline has passed. Returns those that are not.
fn wait_until(deadline: Instant, arguments: &WaitArguments, lines: &Receiver<String>) -> Vec<String> {
    let mut snapshot = BTreeMap::new();
    let mut missing = arguments.services.clone();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            // The engine did not answer.
            Ok(line) if line.is_empty() && snapshot.is_empty() => {}
            Ok(line) if line.is_empty() => {
                let health = std::mem::take(&mut snapshot);
                missing = missing_in(&health, arguments);
                if is_over(&missing, &health, arguments) {
                    return missing;
                }
            }
            Ok(line) => {
                let (service, status) = line.split_once(' ').unwrap_or((&line, ""));
                snapshot.insert(service.to_owned(), ContainerHealth::of(status));
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return missing,
        }
    }
}

fn missing_in(snapshot: &BTreeMap<String, ContainerHealth>, arguments: &WaitArguments) -> Vec<String> {
    let is_missing = |service: &&String| match snapshot.get(*service) {
        Some(ContainerHealth::Unhealthy) => true,
        health => !arguments.recovery && health != Some(&ContainerHealth::Healthy),
    };
    arguments.services.iter().filter(is_missing).cloned().collect()
}

/// Where compose has failed, a container that does not start by now will not come up.
fn is_over(
    missing: &[String],
    snapshot: &BTreeMap<String, ContainerHealth>,
    arguments: &WaitArguments,
) -> bool {
    let is_starting = |service: &String| snapshot.get(service) == Some(&ContainerHealth::Starting);
    missing.is_empty() || (arguments.compose_failed && !missing.iter().any(is_starting))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn arguments(recovery: bool, compose_failed: bool) -> WaitArguments {
        let services = ["postgres", "redis"].map(str::to_owned).into();
        WaitArguments { seconds: 1, recovery, compose_failed, services }
    }

    /// The services that are missing after these snapshots, and whether the wait went on until its deadline.
    fn missing(arguments: &WaitArguments, snapshots: &[&str]) -> (Vec<String>, bool) {
        let (sender, lines) = sync_channel(MAX_WAITING_LINES);
        for line in snapshots.iter().flat_map(|snapshot| snapshot.split('|')) {
            sender.send(line.to_owned()).unwrap();
        }
        let began = Instant::now();
        let missing = wait_until(began + SECOND / 5, arguments, &lines);
        (missing, began.elapsed() >= SECOND / 5)
    }

    #[test]
    fn a_wait_ends_once_all_are_healthy() {
        let healthy = "postgres Up 3 seconds (healthy)|redis Up 2 seconds (healthy)|";
        let starting = "postgres Up 1 second (health: starting)|redis Created|";
        assert_eq!(missing(&arguments(false, false), &[starting, healthy]), (vec![], false));
        let (late, was_late) = missing(&arguments(false, false), &[healthy.split('|').next().unwrap(), ""]);
        assert_eq!((late, was_late), (vec!["redis".to_owned()], true));
    }

    #[test]
    fn the_last_whole_snapshot_counts() {
        let unhealthy = "postgres Up 3 seconds (healthy)|redis Up 2 seconds (unhealthy)|";
        let (names, _) = missing(&arguments(false, false), &[unhealthy, "redis Up 3 seconds (healthy)"]);
        assert_eq!(names, ["redis"]);
    }

    #[test]
    fn an_engine_that_does_not_answer_once_changes_nothing() {
        let healthy = "postgres Up 3 seconds (healthy)|redis Up 2 seconds (healthy)|";
        assert_eq!(missing(&arguments(false, true), &["", healthy]), (vec![], false));
    }

    #[test]
    fn after_a_failure_of_compose_only_what_starts_is_waited_for() {
        let starting = "postgres Up 1 second (health: starting)|redis Exited (1) 2 seconds ago|";
        let exited = "postgres Up 3 seconds (healthy)|redis Exited (1) 2 seconds ago|";
        let (names, was_late) = missing(&arguments(false, true), &[starting, exited]);
        assert_eq!((names, was_late), (vec!["redis".to_owned()], false));
        assert!(missing(&arguments(false, true), &[starting]).1);
    }

    #[test]
    fn recovery_waits_for_unhealthy_containers_only() {
        let ill = "postgres Up 3 minutes (unhealthy)|redis Exited (1) 2 seconds ago|";
        let well = "postgres Up 3 minutes (healthy)|redis Exited (1) 2 seconds ago|";
        assert_eq!(missing(&arguments(true, false), &[ill, well]), (vec![], false));
        assert!(missing(&arguments(true, false), &[ill]).1);
    }
}
