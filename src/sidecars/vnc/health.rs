//! What the desktop tells of itself: which program is down, since when and why, and how often that was so.

use std::{error::Error, time::Duration};

use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::runtime::{
    complaint::with_causes,
    readiness::{Gate, Readiness},
};

/// From a tenth of a millisecond to the time after which an X server counts as silent.
const HANDSHAKE_SECONDS: [f64; 8] = [0.0001, 0.000_3, 0.001, 0.003, 0.01, 0.1, 1.0, 3.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProgramLabel {
    program: &'static str,
}

/// The programs, and how the X server answers.
#[derive(Debug)]
pub(super) struct Health {
    pub(super) display: Part,
    pub(super) window_manager: Part,
    pub(super) handshakes: Histogram,
}

/// One program.
#[derive(Debug)]
pub(super) struct Part {
    gate: Option<Gate>,
    name: &'static str,
    is_up: Gauge,
    failures: Counter,
}

impl Health {
    /// Shows `display`, the program by which viewers see it, and the window manager if there is to be one.
    pub(super) fn new(display: &'static str, has_window_manager: bool, readiness: &Readiness, registry: &mut Registry) -> Self {
        let (up, failures) = (Family::<ProgramLabel, Gauge>::default(), Family::<ProgramLabel, Counter>::default());
        registry.register("vnc_program_up", "Whether a program of the desktop runs and does what it is for", up.clone());
        registry.register("vnc_program_failures", "How often a program of the desktop ended or did not start", failures.clone());
        let handshakes = Histogram::new(HANDSHAKE_SECONDS);
        registry.register("vnc_x_handshake_seconds", "How long the X server took to let a client in", handshakes.clone());
        let part = |name: &'static str, gate: &str| {
            let label = ProgramLabel { program: name };
            Part {
                gate: Some(readiness.gate(gate)),
                name,
                is_up: up.get_or_create_owned(&label),
                failures: failures.get_or_create_owned(&label),
            }
        };
        let window_manager = if has_window_manager {
            part("openbox", "window-manager")
        } else {
            Part { gate: None, name: "openbox", is_up: Gauge::default(), failures: Counter::default() }
        };
        Self { display: part(display, "desktop"), window_manager, handshakes }
    }
}

impl Part {
    /// It does what it is for.
    pub(super) fn up(&self) {
        self.is_up.set(1);
        if let Some(gate) = &self.gate {
            gate.open();
        }
    }

    /// It ended or did not start, and is tried again after a pause, if it is.
    pub(super) fn down(&self, error: &dyn Error, pause: Option<Duration>) {
        let then = pause.map(|pause| format!("; it is started again after {pause:.1?}")).unwrap_or_default();
        let why = format!("{}{then}", with_causes(error));
        tracing::warn!(program = self.name, "{why}");
        self.failures.inc();
        self.set_down(&why);
    }

    /// It can't do what it is for, through no fault of its own.
    pub(super) fn wait(&self, error: &dyn Error) {
        self.set_down(&with_causes(error));
    }

    fn set_down(&self, why: &str) {
        self.is_up.set(0);
        if let Some(gate) = &self.gate {
            gate.close_with(format!("down since {:.0}: {why}", Timestamp::now()));
        }
    }
}
