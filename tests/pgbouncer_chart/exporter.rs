//! The exporter beside PgBouncer.

use outrigger_bed::{Generation, PgBouncer, Postgres};

use crate::{container, helm::Helm, least, pod};

/// The exporter itself can't be run here, but what it depends on can: its connection, and the commands that it sends.
#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_t42_the_exporters_connection_string_needs_no_password_and_may_ask_all_that_it_asks() {
    let Some(helm) = Helm::obtain("the_exporters_connection_string_needs_no_password") else { return };
    let exporter = container(&pod(&least(&helm, &["defaults.exporter.enabled=true"]), "pooler-one"), "exporter");
    let mut arguments = exporter["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
    let connection = arguments.find_map(|argument| argument.strip_prefix("--pgBouncer.connectionString=")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("userlist.txt");
    std::fs::write(&list, "\"somebody\" \"else\"\n").unwrap();
    let server = Postgres::shared().await;
    for generation in [Generation::Installed, Generation::Newer] {
        let pooler = PgBouncer::start_of(generation, server, &list).await;
        let socket = pooler.socket_folder().display().to_string();
        let here = connection.replace("/run/pgbouncer", &socket).replace("port=6432", &format!("port={}", pooler.port()));
        let (client, driver) = tokio_postgres::connect(&here, tokio_postgres::NoTls).await.unwrap();
        let ask = async {
            for command in ["SHOW VERSION", "SHOW STATS_TOTALS", "SHOW POOLS", "SHOW DATABASES", "SHOW LISTS", "SHOW CONFIG"] {
                let rows = client.simple_query(command).await.unwrap_or_else(|error| panic!("{generation:?}: {command}: {error:?}"));
                assert!(!rows.is_empty(), "{command}");
            }
        };
        tokio::select! {
            () = ask => {}
            ended = driver => panic!("{ended:?}"),
        }
    }
}
