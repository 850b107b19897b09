//! How our program bears more than it can do.

use std::time::Duration;

use super::{
    CONNECTIONS, Case,
    load::{Load, Outcome, Pace},
    process::Memory,
    quota::Quota,
    servers::{Server, Yard, request},
};

/// What a server went through, and what came of it.
pub(crate) struct Hardship {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    /// Memory afterwards.
    pub(crate) memory: Memory,
}

const LASTS: Duration = Duration::from_secs(5);
/// What an API server waits by the webhook configurations.
const PATIENCE: Duration = Duration::from_secs(5);

/// One server through all of them, and through what it was before, to see whether it has recovered.
pub(crate) fn all(yard: &Yard, case: &Case) -> Vec<Hardship> {
    let server = yard.outrigger();
    let calm = Load {
        target: server.target.clone(),
        request: request(&case.review),
        connections: CONNECTIONS,
        pace: Pace::Open { per_second: 500 },
        lasts: LASTS,
        patience: PATIENCE,
    };
    let go_through = |name: String, load: &Load| {
        eprintln!("{name}");
        let outcome = load.run(&server.process);
        Hardship { name, outcome, memory: server.process.memory() }
    };
    let mut hardships = vec![go_through("500/s, before".to_owned(), &calm)];
    for (times, note) in [(1, ""), (10, ""), (100, ""), (100, ", again")] {
        let saturating = Load { connections: CONNECTIONS * times, pace: Pace::Closed, ..calm.clone() };
        hardships.push(go_through(format!("{} clients that never pause{note}", saturating.connections), &saturating));
    }
    hardships.push(go_through("500/s, after that".to_owned(), &calm));
    hardships.extend(starved(&server, &calm, go_through));
    hardships.push(go_through("500/s, in the end".to_owned(), &calm));
    hardships
}

/// With a part of one CPU.
fn starved(server: &Server, calm: &Load, go_through: impl Fn(String, &Load) -> Hardship) -> Vec<Hardship> {
    let with = |percent| {
        let _quota = Quota::on(&server.process, percent).inspect_err(|error| eprintln!("no quota: {error}")).ok()?;
        let overload = Load { connections: 10 * CONNECTIONS, ..calm.clone() };
        Some(go_through(format!("500/s with {percent} % of one CPU"), &overload))
    };
    [50, 10, 2].into_iter().filter_map(with).collect()
}
