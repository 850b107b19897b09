//! What `helm test` runs, before real poolers: each limit is one that refuses.

use outrigger_bed::{Generation, Postgres};

use crate::{helm::Helm, live::Live};

async fn report(helm: &Helm, generation: Generation, more: &[&str]) -> Result<String, String> {
    let server = Postgres::shared().await;
    let user = server.database("tester");
    let own = [
        "instances.one.databases.app.host=127.0.0.1".to_owned(),
        format!("instances.one.databases.app.port={}", server.port()),
        "instances.one.databases.app.dbname=postgres".to_owned(),
        format!("tests.databases.{user}=app"),
        "tests.timeoutSeconds=30".to_owned(),
    ];
    let values: Vec<String> = own.into_iter().chain(more.iter().map(|value| (*value).to_owned())).collect();
    let live = Live::render(helm, generation, "db", &values);
    let list = format!("\"pgbouncer\" \"of-the-pooler\"\n\"{user}\" \"password\"\n\"outrigger-probe-pooler-one\" \"of-the-test\"\n");
    live.write_list(&list);
    let _pooler = live.pooler().await;
    tokio::task::block_in_place(|| live.helm_test(&[("/userlist/userlist.txt", &list), ("/before/password", "of-the-test")]))
}

#[tokio::test(flavor = "multi_thread")]
async fn readme_max_client_conn_is_seen_to_refuse() {
    let Some(helm) = Helm::obtain("readme_max_client_conn_is_seen_to_refuse") else { return };
    for generation in [Generation::Installed, Generation::Newer] {
        let printed = report(&helm, generation, &["defaults.config.max_client_conn=8", "tests.mostClients=16"]).await.unwrap();
        for expected in ["signed in: 2 users", "latency: half of 100 queries below", "filled: beside 16 clients another was refused"] {
            assert!(printed.contains(expected), "{generation:?}: {expected}: {printed}");
        }
        let limit = match generation {
            Generation::Installed => "skipped: the limit of clients",
            Generation::Newer => "saturated: of 7 clients at once 3 were served and 4 refused",
        };
        assert!(printed.contains(limit), "{generation:?}: {printed}");
        // Whoever does not ask for it keeps serving all users.
        let printed = report(&helm, generation, &["defaults.config.max_client_conn=8"]).await.unwrap();
        assert!(printed.contains("skipped: max_client_conn, since tests.mostClients is 0"), "{generation:?}: {printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_refuses_nobody_fails_the_test() {
    let Some(helm) = Helm::obtain("a_pooler_that_refuses_nobody_fails_the_test") else { return };
    // It lets the test's own user be more clients than it should: one limit is another's, which the test does not know.
    let more = ["instances.one.users.outrigger-probe-pooler-one.max_user_client_connections=50"];
    let failed = report(&helm, Generation::Newer, &more).await.unwrap_err();
    assert!(failed.contains("saturated: of 7 clients at once 7 were served and 0 refused") && failed.contains("FAILED"), "{failed}");
}
