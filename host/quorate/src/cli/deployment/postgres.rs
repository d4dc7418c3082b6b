//! The script that makes databases and their roles. The PostgreSQL image runs it when there is no data yet, and every
//! start runs it again.

use std::fmt::Write;

use super::layout::{DATABASES, DatabaseLayout};

const ROLES_SCRIPT_HEAD: &str = r#"#!/bin/sh
# A database and a role for the account service, the coordinator and each party; no role sees another's database. This runs when the
# server has no data yet and at every start: it completes what an interrupted start has left out, and sets the passwords that the
# containers were given. Passwords are in statements, which the server must not log where one fails.
set -eu
failed=0 last=
make() { # name, connections
  psql -q -X -v ON_ERROR_STOP=1 --username postgres --dbname postgres <<SQL || { failed=$((failed + 1)); last=$1; }
SET log_min_error_statement = panic;
SET lock_timeout = '5s';
\set password \`cat /run/secrets/$1_postgres_password\`
SELECT 'CREATE ROLE $1' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$1') \gexec
ALTER ROLE $1 LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT $2 PASSWORD :'password';
SELECT 'CREATE DATABASE $1 OWNER $1' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '$1') \gexec
ALTER DATABASE $1 ALLOW_CONNECTIONS true CONNECTION LIMIT -1;
REVOKE ALL ON DATABASE $1 FROM PUBLIC;
SQL
}
"#;

const ROLES_SCRIPT_TAIL: &str = r#"psql -q -X -v ON_ERROR_STOP=1 --username postgres --dbname postgres <<'SQL'
SET log_min_error_statement = panic;
\set password `cat /run/secrets/postgres_password`
ALTER ROLE postgres PASSWORD :'password';
REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC;
SQL
# A party can hold up its own database. The others go on.
case $failed$last in
  0) ;;
  1account | 1coordinator) exit 1 ;;
  1*) echo "note: the database $last is held up, perhaps by its party" >&2 ;;
  *) exit 1 ;;
esac
"#;

/// The script, for the databases of the layout.
pub(super) fn roles_script() -> String {
    let mut script = ROLES_SCRIPT_HEAD.to_owned();
    for database in DATABASES {
        // Writing to a string does not fail.
        let _ = writeln!(script, "make {} {}", database.name, database.max_connections);
    }
    script + ROLES_SCRIPT_TAIL
}

/// A script that prints whether an image of PostgreSQL fits the data in `/data`: `postgres`, the owner of the data,
/// the user as whom the image runs PostgreSQL, the version of the data, and the image's own words on its version.
pub(super) const DATA_SCRIPT: &str = r#"cd /data && test -e PG_VERSION || exit 0
echo "postgres $(stat -c %u PG_VERSION) $(id -u postgres) $(cat PG_VERSION) $(postgres --version)"
"#;

/// A script that prints the newest migration of each database, a line `schema NAME VERSION` each. It runs in the
/// container of PostgreSQL. A database that was never used has no such table; and a party can make its own wait or
/// answer anything.
pub(super) fn schemas_script() -> String {
    let mut script = "export PGOPTIONS='-c statement_timeout=5s -c lock_timeout=3s'\n".to_owned();
    for DatabaseLayout { name, .. } in DATABASES {
        let query = format!("psql -qXtA -U {name} -c 'SELECT max(version) FROM _sqlx_migrations' {name}");
        // Digits only: an answer of several lines must not pass for that of another database.
        let _ = writeln!(
            script,
            "echo \"schema {name} $(timeout 15 {query} </dev/null 2>/dev/null | head -c 9 | tr -cd 0-9)\""
        );
    }
    script
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_script_makes_every_database() {
        let script = roles_script();
        for database in DATABASES {
            assert!(script.contains(&format!("make {} {}\n", database.name, database.max_connections)));
        }
    }

    #[test]
    fn all_scripts_are_for_a_plain_shell() {
        for script in [roles_script(), schemas_script(), DATA_SCRIPT.to_owned()] {
            is_for_a_plain_shell(&script);
        }
    }

    fn is_for_a_plain_shell(script: &str) {
        let mut shell = Command::new("sh").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
    }
}
