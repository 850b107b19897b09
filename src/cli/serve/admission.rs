//! The role that answers reviews: it watches what they are judged by, and serves.

use std::sync::Arc;

use kube::{Api, core::DynamicObject, discovery::ApiResource};
use tokio::net::TcpListener;

use crate::{
    admission::{Admission, Metrics, Objects, Pods, router},
    api::inventory::Inventory,
    cluster::{
        objects::{InventoryWriter, PgDatabases, PgServers, SessionTemplates, Sessions},
        snapshot::{Snapshot, snapshot},
        watch::{Projection, Scope},
    },
    injection::Settings,
    runtime::{certificate::Served, complaint::with_causes, patience::Limits, server, traces::Traces},
};

use super::Process;

/// What this role needs besides the process it runs in.
pub(super) struct AdmissionRole {
    /// Where reviews come in.
    pub(super) listener: TcpListener,
    pub(super) served: Arc<Served>,
    pub(super) settings: Settings,
    pub(super) limits: Limits,
    pub(super) traces: Traces,
}

impl AdmissionRole {
    /// Starts the watches and the server.
    pub(super) fn start(self, process: &mut Process) {
        let namespaces = process.namespaces();
        let notes = process.notes();
        let inventory = watch_objects(process);
        let metrics = Metrics::new(&mut process.registry);
        let admission = Admission::new(Pods { settings: self.settings, namespaces, notes }, Objects { inventory }, metrics, self.traces);
        let serving = server::serve_tls(self.listener, self.served, router(admission), self.limits, process.shutdown.clone());
        process.tasks.spawn("admission", async move {
            if let Err(error) = serving.await {
                tracing::error!(error = with_causes(&error), "reviews can't be answered");
            }
        });
    }
}

fn watch_objects(process: &mut Process) -> Snapshot<Inventory> {
    fn watch<P: Projection<Object = DynamicObject>>(process: &mut Process, projection: P, resource: &ApiResource) {
        let api: Api<DynamicObject> = Api::all_with(process.client.clone(), resource);
        process.watch(projection, api, Scope::All);
    }
    let (writer, inventory) = snapshot(Inventory::default());
    let writer = InventoryWriter::new(writer);
    watch(process, PgServers(writer.clone()), &PgServers::resource());
    watch(process, PgDatabases(writer.clone()), &PgDatabases::resource());
    watch(process, SessionTemplates(writer.clone()), &SessionTemplates::resource());
    watch(process, Sessions(writer), &Sessions::resource());
    inventory
}
