//! What is known of the cluster's objects, as far as the validators ask: indexed, so that a question is a look-up.
//!
//! The watches keep one of these for the webhook, a controller makes one of its lists, and `outrigger validate` of the files it
//! reads. What is missing here may only be unknown: absence never denies.

use std::{collections::HashMap, sync::Arc};

use super::{
    pg_database::claim::Claim,
    pg_server::Server,
    session::usage::{Template, Usage},
};

/// How many sessions of a template count towards its quota.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    total: usize,
    by_user: HashMap<String, usize>,
}

impl Counts {
    /// For all users together.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// For one user.
    #[must_use]
    pub fn of_user(&self, user: &str) -> usize {
        self.by_user.get(user).copied().unwrap_or_default()
    }
}

/// What is known of the cluster's objects. A copy shares its parts until one of them changes.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    servers: Arc<HashMap<String, Server>>,
    /// By server, then by database: the two names that a question has.
    claims: Arc<HashMap<String, HashMap<String, Vec<Claim>>>>,
    /// By namespace, then by name.
    templates: Arc<HashMap<String, HashMap<String, Template>>>,
    /// By namespace, then by template.
    counts: Arc<HashMap<String, HashMap<String, Counts>>>,
}

impl Inventory {
    /// Adds a server.
    pub fn add_server(&mut self, server: Server) {
        Arc::make_mut(&mut self.servers).insert(server.name.clone(), server);
    }

    /// Adds what a `PgDatabase` asks for.
    pub fn add_claim(&mut self, claim: Claim) {
        let databases = Arc::make_mut(&mut self.claims).entry(claim.server.clone()).or_default();
        databases.entry(claim.database.clone()).or_default().push(claim);
    }

    /// Adds a template.
    pub fn add_template(&mut self, template: Template) {
        Arc::make_mut(&mut self.templates).entry(template.namespace.clone()).or_default().insert(template.name.clone(), template);
    }

    /// Counts a session, if it counts.
    pub fn add_session(&mut self, session: &Usage) {
        if !session.counted {
            return;
        }
        let counts =
            Arc::make_mut(&mut self.counts).entry(session.namespace.clone()).or_default().entry(session.template.clone()).or_default();
        counts.total += 1;
        *counts.by_user.entry(session.user.clone()).or_default() += 1;
    }

    /// Replaces all servers.
    pub fn set_servers(&mut self, servers: impl Iterator<Item = Server>) {
        self.servers = Arc::default();
        servers.for_each(|server| self.add_server(server));
    }

    /// Replaces all that `PgDatabase`s ask for.
    pub fn set_claims(&mut self, claims: impl Iterator<Item = Claim>) {
        self.claims = Arc::default();
        claims.for_each(|claim| self.add_claim(claim));
    }

    /// Replaces all templates.
    pub fn set_templates(&mut self, templates: impl Iterator<Item = Template>) {
        self.templates = Arc::default();
        templates.for_each(|template| self.add_template(template));
    }

    /// Counts all sessions anew.
    pub fn set_sessions(&mut self, sessions: impl Iterator<Item = Usage>) {
        self.counts = Arc::default();
        sessions.for_each(|session| self.add_session(&session));
    }

    /// A server, if it is known.
    #[must_use]
    pub fn server(&self, name: &str) -> Option<&Server> {
        self.servers.get(name)
    }

    /// All `PgDatabase`s that ask for one database.
    #[must_use]
    pub fn claims(&self, server: &str, database: &str) -> &[Claim] {
        self.claims.get(server).and_then(|databases| databases.get(database)).map_or(&[], Vec::as_slice)
    }

    /// A template, if it is known.
    #[must_use]
    pub fn template(&self, namespace: &str, name: &str) -> Option<&Template> {
        self.templates.get(namespace).and_then(|templates| templates.get(name))
    }

    /// How many sessions of a template count; none if there are none.
    #[must_use]
    pub fn counts(&self, namespace: &str, template: &str) -> Option<&Counts> {
        self.counts.get(namespace).and_then(|templates| templates.get(template))
    }
}
