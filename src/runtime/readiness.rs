//! Whether this process may be sent work, and if not, what it waits for.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Registry,
};

/// The gates of a process. It is ready when all are open. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    gates: Arc<Mutex<BTreeMap<String, State>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Waiting(Option<String>),
    Open(Option<String>),
}

/// One thing to wait for.
#[derive(Debug, Clone)]
pub struct Gate {
    name: String,
    readiness: Readiness,
}

impl Readiness {
    /// Adds a closed gate. Add all before the first opens, or the process is ready for a moment.
    #[must_use]
    pub fn gate(&self, name: impl Into<String>) -> Gate {
        let name = name.into();
        self.lock().insert(name.clone(), State::Waiting(None));
        Gate { name, readiness: self.clone() }
    }

    /// Shows each gate, and all together, as metrics, too.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    /// Whether all gates are open.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.lock().values().all(|state| matches!(state, State::Open(_)))
    }

    /// One line for each gate: what is there, what is waited for, and what to know.
    #[must_use]
    pub fn report(&self) -> String {
        self.lock().iter().fold(String::new(), |mut report, (name, state)| {
            let state = match state {
                State::Waiting(None) => "waiting",
                State::Open(None) => "ok",
                State::Waiting(Some(note)) | State::Open(Some(note)) => note,
            };
            // Writing to a String cannot fail.
            let _ = writeln!(report, "{name}: {state}");
            report
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        // A map of states is whole after any panic.
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Readiness {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Whether a part of this process has all it needs; /readyz says in words what is missing";
        let mut metric = encoder.encode_descriptor("part_ok", help, None, MetricType::Gauge)?;
        for (name, state) in &*self.lock() {
            let part = [("part", name.as_str())];
            ConstGauge::new(i64::from(matches!(state, State::Open(None)))).encode(metric.encode_family(&part)?)?;
        }
        let ready = ConstGauge::new(i64::from(self.is_ready()));
        ready.encode(encoder.encode_descriptor("ready", "Whether this process may be sent work", None, ready.metric_type())?)
    }
}

impl Gate {
    /// What is waited for is there.
    pub fn open(&self) {
        self.set(State::Open(None));
    }

    /// It will not come, and that is no reason to refuse work; the note says so.
    pub fn open_with(&self, note: impl Into<String>) {
        self.set(State::Open(Some(note.into())));
    }

    /// It is gone again.
    pub fn close(&self) {
        self.set(State::Waiting(None));
    }

    /// It is missing, and the note says why.
    pub fn close_with(&self, note: impl Into<String>) {
        self.set(State::Waiting(Some(note.into())));
    }

    fn set(&self, state: State) {
        self.readiness.lock().insert(self.name.clone(), state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_gate_is_open_and_says_what_it_waits_for() {
        let readiness = Readiness::default();
        let (certificate, namespaces) = (readiness.gate("certificate"), readiness.gate("namespaces"));
        assert!(!readiness.is_ready());
        certificate.open();
        assert_eq!(readiness.report(), "certificate: ok\nnamespaces: waiting\n");
        namespaces.open_with("forbidden; treated as empty");
        assert!(readiness.is_ready());
        assert!(readiness.report().contains("namespaces: forbidden"));
        certificate.close();
        assert!(!readiness.is_ready());
        certificate.close_with("expired");
        assert!(!readiness.is_ready() && readiness.report().contains("certificate: expired"));
    }

    #[test]
    fn a_part_that_lacks_something_is_not_ok_even_if_it_does_not_hold_back_the_process() {
        let (readiness, mut registry) = (Readiness::default(), Registry::default());
        readiness.register(&mut registry);
        readiness.gate("certificate").open();
        readiness.gate("namespaces").open_with("forbidden");
        let _waiting = readiness.gate("sessions");
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for expected in ["part_ok{part=\"certificate\"} 1\n", "part_ok{part=\"namespaces\"} 0\n", "part_ok{part=\"sessions\"} 0\n"] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }

    #[test]
    fn a_process_is_shown_as_ready_when_every_gate_is_open() {
        let (readiness, mut registry) = (Readiness::default(), Registry::default());
        readiness.register(&mut registry);
        let shown = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text.lines().find_map(|line| line.strip_prefix("ready ").map(str::to_owned)).unwrap()
        };
        let gate = readiness.gate("certificate");
        assert_eq!(shown(), "0");
        gate.open_with("forbidden");
        assert_eq!(shown(), "1");
        gate.close();
        assert_eq!(shown(), "0");
    }
}
