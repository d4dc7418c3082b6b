//! Whether the engine, its volumes and the data in them fit this deployment.

use super::super::engine_facts::{Engine, PostgresData, is_at_least};
use super::super::finding::{Actor, Finding};
use super::super::layout::{DATABASES, DatabaseKind, DatabaseLayout};
use super::super::settings::DeploymentSettings;

/// The least free space for databases.
const MIN_FREE_MIB: u64 = 512;

/// Checks the engine before any file is read.
pub(super) fn check_engine(engine: &Engine) -> Vec<Finding> {
    let mut findings = Vec::new();
    let administrator =
        |what: String, remedy: &str| Finding::refused(what, remedy).for_actor(Actor::MachineAdministrator);
    if let Some(version) = engine.version.as_ref().filter(|version| !is_at_least(version, &[20, 10])) {
        let what = format!("Docker Engine {version} is too old");
        findings.push(administrator(what, "install 20.10 or later"));
    }
    let compose = engine.standalone_compose.as_ref();
    if let Some(version) = compose.filter(|version| !is_at_least(version, &[1, 29])) {
        let what = format!("docker-compose {version} is too old");
        findings.push(administrator(what, "install 1.29.0 or later, or the compose plugin"));
    }
    if is_remapped(engine) {
        let what = "this Docker engine gives containers other user numbers than this machine has (rootless, or \
                    userns-remap), so that they can't read secrets/";
        findings.push(administrator(what.into(), "use an engine without that"));
    }
    if let Some((mib, folder)) = engine.space.as_ref().filter(|(mib, _)| *mib < MIN_FREE_MIB) {
        let what = format!("only {mib} MiB are free at {folder}");
        findings.push(administrator(what, "make room: databases that can't write stop"));
    }
    findings
}

/// Whether users have other numbers in containers than on the machine.
pub(super) fn is_remapped(engine: &Engine) -> bool {
    engine.security.contains("name=rootless") || engine.security.contains("name=userns")
}

/// The data against the images of `.env`.
pub(super) fn check_data(settings: &DeploymentSettings, engine: &Engine) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(version) = engine.version.as_ref().filter(|version| !is_at_least(version, &[28]))
        && settings.is_production()
    {
        let what = format!(
            "with Docker Engine {version}, machines of this one's own network can get past PUBLISH_ADDRESS"
        );
        let remedy = "install 28 or later, or forbid it as docs/deploy.md says under Firewall";
        findings.push(Finding::note(what, remedy).for_actor(Actor::MachineAdministrator));
    }
    if engine.postgres_is_unknown {
        let what = "it could not be seen whether the image of PostgreSQL fits the data that is there";
        let remedy = "make sure that POSTGRES_IMAGE is of the major version of the data";
        findings.push(Finding::note(what, remedy));
    }
    if let Some(data) = &engine.postgres {
        findings.extend(wrong_postgres(data));
    }
    findings.extend(newer_schemas(settings, engine, newest_schema));
    findings
}

/// PostgreSQL does not open the data of another major version, or of another user.
fn wrong_postgres(data: &PostgresData) -> Option<Finding> {
    let PostgresData { owner, image_user, version, image_version } = data;
    let moving = "to move, back up, clean and restore";
    if version != image_version {
        let what =
            format!("POSTGRES_IMAGE in .env is PostgreSQL {image_version}, and the data is of {version}");
        return Some(Finding::refused(what, format!("take an image of {version}; {moving}")));
    }
    (owner != image_user).then(|| {
        let what = format!(
            "POSTGRES_IMAGE in .env runs PostgreSQL as user {image_user}, and the data belongs to user {owner}"
        );
        Finding::refused(what, format!("take an image of the same kind as before; {moving}"))
    })
}

/// The newest migration that this program knows of a kind of database.
fn newest_schema(kind: DatabaseKind) -> i64 {
    match kind {
        DatabaseKind::Account => quorate_control_store::ACCOUNT_SCHEMA.newest(),
        DatabaseKind::Coordinator => quorate_control_store::COORDINATOR_SCHEMA.newest(),
        DatabaseKind::Party => quorate_party_store::SCHEMA.newest(),
    }
}

/// A program does not start on databases that a newer one has brought up to date. What a party's own database says
/// counts for that party only: the others can sign without it.
fn newer_schemas(
    settings: &DeploymentSettings,
    engine: &Engine,
    newest: impl Fn(DatabaseKind) -> i64,
) -> Option<Finding> {
    let version_of = |name: &str| engine.schemas.iter().find(|(database, _)| database == name);
    let is_newer = |database: &&DatabaseLayout| {
        version_of(database.name).is_some_and(|(_, version)| *version > newest(database.kind))
    };
    let newer: Vec<&'static DatabaseLayout> = DATABASES.iter().filter(is_newer).collect();
    let image = settings.text("QUORATE_IMAGE");
    match newer[..] {
        [] => None,
        [DatabaseLayout { name: party, kind: DatabaseKind::Party, .. }] => {
            let what = format!(
                "the database {party} says that it is of a newer version than {image}: that party will not start"
            );
            let note = Finding::note(what, "find out which version made it, and run that one or a later one");
            Some(note.for_actor(Actor::PartyOperator(party)))
        }
        _ => {
            let names: Vec<&str> = newer.iter().map(|database| database.name).collect();
            let what =
                format!("databases are of a newer version of Quorate than {image}: {}", names.join(" "));
            Some(Finding::refused(what, "set QUORATE_IMAGE to that version or a later one"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::deployment::finding::what;
    use crate::cli::deployment::testing::TestDeployment;

    #[test]
    fn an_engine_that_can_not_serve_is_refused() {
        let found = |engine: Engine| what(&check_engine(&engine));
        let engine = Engine::default;
        assert_eq!(found(engine()), "");
        assert!(found(Engine { version: Some("19.03.1".into()), ..engine() }).contains("19.03.1 is too old"));
        let compose = Engine { standalone_compose: Some("1.25.0".into()), ..engine() };
        assert!(found(compose).contains("docker-compose 1.25.0 is too old"));
        assert!(found(Engine { security: "[name=rootless]".into(), ..engine() }).contains("user numbers"));
        assert!(
            found(Engine { space: Some((511, "/a".into())), ..engine() }).contains("511 MiB are free at /a")
        );
        assert_eq!(found(Engine { space: Some((512, "/a".into())), ..engine() }), "");
    }

    #[test]
    fn data_of_another_postgresql_is_refused() {
        let found = |owner, version| {
            wrong_postgres(&PostgresData { owner, image_user: 999, version, image_version: 15 })
        };
        assert!(found(999, 15).is_none());
        assert!(found(999, 14).unwrap().what.contains("PostgreSQL 15, and the data is of 14"));
        assert!(found(70, 15).unwrap().what.contains("as user 999, and the data belongs to user 70"));
    }

    #[test]
    fn one_party_with_a_newer_schema_is_a_note_and_two_are_refused() {
        let deployment = TestDeployment::new();
        let found = |newer: &[&str]| {
            let schemas = DATABASES.map(|database| {
                (database.name.to_owned(), if newer.contains(&database.name) { 8 } else { 7 })
            });
            let engine = Engine { schemas: schemas.into(), ..Engine::default() };
            newer_schemas(&deployment.settings(), &engine, |_| 7).map(|finding| finding.to_string())
        };
        assert_eq!(found(&[]), None);
        assert!(found(&["party_2"]).unwrap().starts_with("note: the database party_2"));
        assert!(found(&["account"]).unwrap().starts_with("refused: databases are of a newer version"));
        assert!(found(&["party_1", "party_2"]).unwrap().contains("quorate:local: party_1 party_2"));
    }
}
