//! Our bridge, with a process to itself.

use std::{io::Read, path::Path};

use outrigger::{
    runtime::{server, shutdown::Shutdown, telemetry},
    sidecars::vnc::{
        bridge::target::{Target, Targets},
        metrics::Metrics,
        router::{Desk, Protocol, Settings},
        viewers::Limits,
    },
};

/// More than are measured at once.
const MOST: usize = 1000;

/// Serves until the standard input ends, on one thread as `outrigger vnc` does.
pub(crate) fn serve(socket: &Path, port: u16) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut settings = Settings::open(Targets::new(Target::Unix(socket.to_owned())), Protocol::Opaque);
        settings.limits = Limits { total: MOST, of_user: MOST, of_address: MOST };
        let shutdown = Shutdown::default();
        let desk = Desk::new(settings, Metrics::new(&mut telemetry::registry()), shutdown.clone());
        let listener = server::bind(([127, 0, 0, 1], port).into()).await.unwrap();
        let parent_is_gone = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
        tokio::select! {
            () = server::serve_plain(listener, desk.router(), shutdown) => {}
            _ = parent_is_gone => {}
        }
    });
    runtime.shutdown_background();
}
