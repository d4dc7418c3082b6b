//! In production nothing is reached without verified TLS but this machine and what is declared to be private. No process of these
//! tests sends anything: each is stopped before it connects. The addresses are those for documentation (RFC 5737).

use std::process::Stdio;

use quorate_tests::single_process::program;

/// 32 bytes, where no others are wanted.
const HEX: &str = "5f1d6a1e0c0b4c7e9a83d2f4b6e8091a2c3d4e5f60718293a4b5c6d7e8f90a1b";

/// What a program says that does not start.
fn refused(arguments: [&str; 2], settings: &[(&str, &str)]) -> String {
    let mut command = std::process::Command::new(program());
    command.env_clear().args(arguments).stdin(Stdio::null());
    command.env("ENVIRONMENT", "production").env("QUORATE_CONNECT_TRIES", "1");
    command.env("JWT_PUBLIC_KEYS", "ab".repeat(32)).env("QUORATE_ROUTER_LISTEN", "127.0.0.1:0");
    command.env("QUORATE_PARTY_KEYS", "cd".repeat(32));
    command.envs(settings.iter().copied());
    let output = command.output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{said}");
    said
}

#[test]
fn production_connects_to_no_service_over_a_network_that_nobody_has_declared() {
    let database = "postgres://quorate@192.0.2.1/accounts";
    for (arguments, settings) in [
        (["serve", "router"], vec![("RABBITMQ_URL", "amqp://quorate@192.0.2.1:5672")]),
        (["migrate", "queues"], vec![("RABBITMQ_URL", "amqp://quorate@192.0.2.1:5672")]),
        // It would work without, and is not to be taken for one that does.
        (
            ["serve", "account"],
            vec![
                ("RABBITMQ_URL", "amqp://quorate@192.0.2.1:5672"),
                ("MPC_API_KEY_SHA256", HEX),
                ("QUORATE_ORIGINATOR_KEY", HEX),
                ("QUORATE_ACCOUNT_ROW_KEYS", HEX),
                ("QUORATE_COORDINATORS", "http://127.0.0.1:1"),
            ],
        ),
        (["migrate", "account"], vec![("POSTGRES_URL", database)]),
        // TLS that accepts anybody's certificate.
        (
            ["migrate", "account"],
            vec![("POSTGRES_URL", "postgres://quorate@192.0.2.1/accounts?sslmode=require")],
        ),
        // A network that is declared is not any other.
        (
            ["migrate", "account"],
            vec![("POSTGRES_URL", database), ("QUORATE_PRIVATE_NETWORKS", "10.0.0.0/8")],
        ),
        // Another role listens where it could be reached from everywhere.
        (
            ["serve", "router"],
            vec![("RABBITMQ_URL", "amqp://quorate@127.0.0.1"), ("QUORATE_ROUTER_LISTEN", "0.0.0.0:0")],
        ),
    ] {
        let said = refused(arguments, &settings);
        assert!(said.contains("QUORATE_PRIVATE_NETWORKS"), "{settings:?}: {said}");
    }
}
