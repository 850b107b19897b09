//! Several replicas of an installation behind one address, and their rolling restart.

use rustix::process::Signal;

use super::{balancer::Balancer, installation::Installation, process::Server};

/// CAs that are renewed every 20 seconds, and leaves every 12: the third of their lives that is left outlasts what happens here.
pub(crate) const SHORT_LIVES: [&str; 2] = ["--ca-lifetime=30s", "--leaf-lifetime=20s"];

/// Replicas that have both roles. More can be added, and taken away.
pub(crate) struct Replicas<'test> {
    installation: &'test Installation<'test>,
    arguments: Vec<&'test str>,
    pub(crate) balancer: Balancer,
    pub(crate) servers: Vec<Server>,
}

impl<'test> Replicas<'test> {
    /// Two replicas, ready, registered, and asked by the API server.
    pub(crate) async fn start(installation: &'test Installation<'test>, arguments: &[&'test str]) -> Self {
        let arguments = [&["--roles=admission,controllers"], arguments].concat();
        let balancer = Balancer::start().await;
        let mut replicas = Self { installation, arguments, balancer, servers: Vec::new() };
        for _ in 0..2 {
            replicas.add().await;
        }
        installation.register(replicas.balancer.address, None).await;
        installation.published().await;
        installation.until_asked().await;
        replicas
    }

    async fn add(&mut self) {
        let server = self.installation.replica(&self.arguments);
        server.until_status("/readyz", 200).await;
        self.balancer.add(&server);
        self.servers.push(server);
    }

    /// A rolling restart: for each replica one more, and then it goes.
    pub(crate) async fn roll_out(&mut self) {
        for _ in 0..self.servers.len() {
            self.add().await;
            let mut old = self.servers.remove(0);
            old.signal(Signal::TERM);
            assert_eq!(old.exit().await.code(), Some(0), "{}", old.log());
        }
    }
}
