//! The role that changes things: one process at a time, the holder of the lease.

use anyhow::Result;
use clap::Args;
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    coordination::v1::Lease,
};
use kube::{Api, core::DynamicObject, discovery::ApiResource};

use crate::{
    admission::registration,
    certificates::{
        keeper::{Keeper, Target},
        plan::Policy,
        registration::{ConfigurationKind, RegistrationProjection, Registrations},
    },
    cli::connection,
    cluster::{snapshot::snapshot, watch::Scope},
    injection::Settings,
    runtime::lease::{Campaign, Claim},
};

use super::{Process, certificate::SharedAuthority, databases::DatabasesArgs, repair::RepairArgs, userlists};

/// How the holder is found, and what it looks after.
#[derive(Debug, Args)]
pub(super) struct ControllersArgs {
    /// The Lease whose holder does what must not be done twice; in the namespace of the installation.
    #[arg(long, value_name = "NAME", default_value = "outrigger-controllers", env = "OUTRIGGER_LEASE")]
    lease: String,

    /// The name of both webhook configurations, whose caBundle is kept.
    #[arg(long, value_name = "NAME", default_value = registration::NAME, env = "OUTRIGGER_WEBHOOKS")]
    webhooks: String,

    #[command(flatten)]
    repair: RepairArgs,

    #[command(flatten)]
    databases: DatabasesArgs,

    /// Leave `UserList`s alone, if nobody has granted what they need.
    #[arg(long, env = "OUTRIGGER_NO_USERLISTS")]
    no_userlists: bool,
}

impl ControllersArgs {
    /// Starts the watches and the campaign for the lease.
    pub(super) fn start(
        &self,
        process: &mut Process,
        namespace: &str,
        authority: Option<SharedAuthority>,
        settings: Settings,
    ) -> Result<()> {
        let leases: Api<Lease> = Api::namespaced(process.client.clone(), namespace);
        let campaign = Campaign::new(leases, self.lease.clone(), connection::identity()?, &mut process.registry);
        let keeper = authority.map(|authority| self.keeper(process, authority));
        let repair = self.repair.repair(process, settings)?;
        let databases = self.databases.databases(process, namespace)?;
        let user_lists = (!self.no_userlists).then(|| userlists::user_lists(process));
        let shutdown = process.shutdown.clone();
        let work = move |claim: Claim| {
            let (keeper, repair, shutdown) = (keeper.clone(), repair.clone(), shutdown.clone());
            let (databases, user_lists) = (databases.clone(), user_lists.clone());
            async move {
                let keeping = async {
                    if let Some(keeper) = keeper {
                        keeper.run(&claim, &shutdown).await;
                    }
                };
                let repairing = async {
                    if let Some(repair) = repair {
                        repair.run(&claim, &shutdown).await;
                    }
                };
                let keeping_databases = async {
                    if let Some(databases) = databases {
                        databases.run(&claim, &shutdown).await;
                    }
                };
                let listing_users = async {
                    if let Some(user_lists) = user_lists {
                        user_lists.run(&claim, &shutdown).await;
                    }
                };
                tokio::join!(keeping, repairing, keeping_databases, listing_users, shutdown.closing());
            }
        };
        process.tasks.spawn("lease", campaign.run(work, process.shutdown.clone()));
        Ok(())
    }

    fn keeper(&self, process: &mut Process, authority: SharedAuthority) -> Keeper {
        Keeper {
            secret: authority.secret,
            observed: authority.observed,
            mutating: self.target::<MutatingWebhookConfiguration>(process),
            validating: self.target::<ValidatingWebhookConfiguration>(process),
            policy: Policy { lifetime: authority.lifetime },
        }
    }

    fn target<K: ConfigurationKind>(&self, process: &mut Process) -> Target {
        let api: Api<DynamicObject> = Api::all_with(process.client.clone(), &ApiResource::erase::<K>(&()));
        let (writer, observed) = snapshot(Registrations::Unknown);
        process.watch(RegistrationProjection::<K>::new(writer), api.clone(), Scope::Named(self.webhooks.clone()));
        Target { api, name: self.webhooks.clone(), observed }
    }
}
