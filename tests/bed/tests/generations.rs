//! PostgreSQL and PgBouncer run in both generations, and end when they are told to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use outrigger_bed::{Generation, PgBouncer, Postgres};

#[tokio::test]
async fn each_generation_is_what_it_says() {
    // What is installed depends on the machine.
    for (generation, server, pooler) in [(Generation::Installed, "", "PgBouncer "), (Generation::Newer, "17.", "PgBouncer 1.24.")] {
        let postgres = Postgres::start_of(generation).await;
        let version = postgres.query_as_owner("postgres", "SHOW server_version");
        assert!(version.starts_with(server), "{version}");
        let database = postgres.database("generation");
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("userlist.txt");
        std::fs::write(&users, format!("\"{database}\" \"password\"\n\"admin\" \"secret\"\n")).unwrap();
        let bouncer = PgBouncer::start_of(generation, &postgres, &users).await;
        assert_eq!(bouncer.query(&database, &database, "password", "SELECT current_user").unwrap(), database);
        let version = bouncer.query("pgbouncer", "admin", "secret", "SHOW VERSION").unwrap();
        assert!(version.starts_with(pooler), "{version}");

        postgres.kill();
        postgres.restart();
        assert_eq!(postgres.query(&database, "SELECT 1"), "1", "its data is still there");
    }
}
