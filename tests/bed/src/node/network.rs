//! The network of a node: a network namespace of its own, joined to the machine by a pair of virtual interfaces. Nothing of the cluster
//! leaks out, one delete cleans up, and two nodes live side by side because each has its own number.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::obtain::command::output;
use crate::supervise::{self, Run};

/// Its lock is held while a node takes its number: addresses belong to the whole machine, whatever folders a run works in.
const NODES: &str = "/run/outrigger-bed";

/// The name of the node's interface inside its namespace.
const INSIDE: &str = "node0";

/// Addresses that belong to one node alone.
pub(crate) struct Network {
    number: u8,
}

impl Network {
    /// Takes the first number that is free and makes the namespace. The run's guardian removes it.
    pub(crate) fn create(run: &Run) -> Result<Self> {
        supervise::private_directory(Path::new(NODES))?;
        let _one_at_a_time = supervise::lock(Path::new(NODES))?;
        run.mark_node()?;
        let addresses = ip(&["-4", "-oneline", "address", "show"])?;
        let mut networks = (0..=u8::MAX).map(|number| Self { number });
        let network = networks.find(|network| !network.is_taken(&addresses)).context("there are 256 nodes on this machine")?;
        network.build(run.name()).with_context(|| format!("cannot make the network {}", run.name()))?;
        Ok(network)
    }

    /// Whether one of the machine's addresses is this network's.
    fn is_taken(&self, addresses: &str) -> bool {
        addresses.contains(&format!(" {}/", self.machine()))
    }

    /// The node's own address.
    pub(crate) fn node(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 240, self.number, 1)
    }

    /// The machine's address as the node sees it.
    pub(crate) fn machine(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 240, self.number, 2)
    }

    /// The addresses of pods.
    pub(crate) fn pods(&self) -> String {
        format!("10.244.{}.0/24", self.number)
    }

    /// The addresses of services.
    pub(crate) fn services(&self) -> String {
        format!("10.96.{}.0/24", self.number)
    }

    /// The address of the API server's own service: the first of them.
    pub(crate) fn api_service(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 96, self.number, 1)
    }

    /// Where cluster DNS would be: the tenth, as kubeadm has it.
    pub(crate) fn dns_service(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 96, self.number, 10)
    }

    fn build(&self, name: &str) -> Result<()> {
        let (node, machine) = (self.node().to_string(), self.machine().to_string());
        ip(&["netns", "add", name])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        ip(&["link", "add", name, "type", "veth", "peer", "name", INSIDE, "netns", name])?;
        ip(&["address", "add", &format!("{machine}/30"), "dev", name])?;
        ip(&["link", "set", name, "up"])?;
        ip(&["-n", name, "address", "add", &format!("{node}/30"), "dev", INSIDE])?;
        ip(&["-n", name, "link", "set", INSIDE, "up"])?;
        // Without a default route inside, service addresses are unreachable: the kernel routes before it rewrites.
        ip(&["-n", name, "route", "add", "default", "via", &machine])?;
        // The machine's own tests and browsers reach pods and services through the node.
        ip(&["route", "add", &self.pods(), "via", &node])?;
        ip(&["route", "add", &self.services(), "via", &node])?;
        Ok(())
    }
}

fn ip(arguments: &[&str]) -> Result<String> {
    output(Command::new("ip").args(arguments))
}
