//! What the grammar lets through is what real poolers of both generations take: each user signs in.

use outrigger::userlists::grammar::{Password, UserName, Users, render};
use outrigger_bed::{Generation, Postgres};
use secrecy::ExposeSecret;

use crate::pooler::{ADMIN, Pooler};

/// Names and passwords that have broken others' lists.
fn users() -> Vec<(String, String)> {
    let odd = [
        ("a\"quote", "p\"q"),
        ("\"", "\"\"\""),
        ("back\\slash", r"\t\n\c\\"),
        ("two words", " blanks around "),
        ("; no comment", "# none, either"),
        ("tab\there", "tab\tthere"),
        ("ümläut", "pässwörd"),
        ("$(whoami)", "`id`'; DROP"),
        ("\u{7f}", "\u{1}\u{7f}"),
        ("a", "b\" \"c"),
        ("z-last", "plain"),
    ];
    let mut users: Vec<(String, String)> = odd.map(|(name, password)| (name.to_owned(), password.to_owned())).into();
    // SASLprep of PostgreSQL and PgBouncer goes so far (MAX_PASSWORD_LENGTH); other kinds of authentication take longer ones.
    users.push(("n".repeat(63), "p".repeat(1024)));
    users.push((format!("{}q", "\"".repeat(31)), format!("{}p", "\"".repeat(1023))));
    users.push(("n".repeat(127), "long name".to_owned()));
    users
}

async fn each_user_signs_in(generation: Generation) {
    let pooler = Pooler::start(generation).await;
    let server = Postgres::shared().await;
    let all = [("admin".to_owned(), ADMIN.to_owned())].into_iter().chain(users());
    let list: Users = all.map(|(name, password)| (UserName::new(&name).unwrap(), Password::new(&password).unwrap())).collect();
    for (name, _) in users() {
        // PostgreSQL's names have 63 bytes, and it cuts what is longer.
        let name: String = name.chars().take(63).collect::<String>().replace('"', "\"\"");
        server.query_as_owner(
            "postgres",
            &format!("DO $do$ BEGIN CREATE ROLE \"{name}\" LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $do$"),
        );
    }
    let longest = (UserName::new("longest").unwrap(), Password::new(&"p".repeat(2047)).unwrap());
    let list = list.into_iter().chain([longest]).collect();
    pooler.renew(render(&list).expose_secret());
    pooler.bouncer.query("pgbouncer", "admin", ADMIN, "RELOAD").unwrap();
    for (name, password) in users() {
        if let Err(error) = pooler.sign_in(&name, &password).await {
            panic!("{name:?} can't sign in: {error}");
        }
        let wrong = format!("{password}x");
        assert!(pooler.sign_in(&name, &wrong).await.is_err(), "{name:?} with another password");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn qs_pgbouncer_p1_p2_whatever_a_list_can_hold_signs_in() {
    each_user_signs_in(Generation::Installed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_t27_t36_whatever_a_list_can_hold_signs_in_at_a_newer_pooler() {
    each_user_signs_in(Generation::Newer).await;
}
