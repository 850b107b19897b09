//! A pod whose containers are clients of one pod of a pooler: one signs in anew all the time, with two passwords, and one keeps its session.

use serde_json::{Value, json};

use crate::{
    running::restricted,
    site::{POSTGRES, Site},
    until::until,
};

/// Which passwords signed in, one right after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) old: bool,
    pub(crate) new: bool,
}

pub(crate) struct Client<'site>(&'site Site);

const SIGNS_IN: &str = r#"
try() { PGPASSWORD=$1 psql --no-psqlrc -Atqc 'SELECT 1' > /dev/null 2>&1 && echo yes || echo no; }
while :; do echo "attempt $(try "$OLD") $(try "$NEW")"; sleep 0.1; done
"#;
const KEEPS_ITS_SESSION: &str = r"
export PGPASSWORD=$OLD
while :; do echo 'SELECT 1;'; sleep 0.2; done | psql --no-psqlrc -Atq --set=ON_ERROR_STOP=1
";

impl Site {
    /// Starts such a pod.
    pub(crate) async fn start_client(&self, address: &str, old: &str, new: &str) -> Client<'_> {
        let container = |name: &str, script: &str| -> Value {
            let variables = [("PGHOST", address), ("PGPORT", "6432"), ("PGUSER", "app"), ("PGDATABASE", "app"), ("OLD", old), ("NEW", new)];
            let variables: Vec<Value> = variables.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            json!({
                "name": name,
                "image": POSTGRES,
                "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", script],
                "env": variables,
                "securityContext": restricted(65532),
            })
        };
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "client"},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": false,
                "containers": [container("signs-in", SIGNS_IN), container("keeps-its-session", KEEPS_ITS_SESSION)],
            },
        });
        self.create_pod(pod).await;
        Client(self)
    }
}

impl Client<'_> {
    /// What was tried so far.
    pub(crate) async fn attempts(&self) -> Vec<Attempt> {
        let log = self.log("signs-in").await;
        let words = log.lines().filter_map(|line| line.strip_prefix("attempt ")?.split_once(' '));
        words.map(|(old, new)| Attempt { old: old == "yes", new: new == "yes" }).collect()
    }

    pub(crate) async fn until_rotated(&self) {
        until("the new password alone signs in", async || {
            let attempts = self.attempts().await;
            let last = attempts.iter().rev().take(10).collect::<Vec<_>>();
            if last.iter().all(|attempt| attempt.new && !attempt.old) { Ok(()) } else { Err(format!("{last:?}")) }
        })
        .await;
    }

    /// The session that was there before still answers.
    pub(crate) async fn session_goes_on(&self) {
        let before = self.log("keeps-its-session").await.lines().count();
        assert!(before > 0);
        until("the session goes on", async || {
            let log = self.log("keeps-its-session").await;
            if log.lines().count() > before + 5 { Ok(()) } else { Err(log.lines().last().unwrap_or_default().to_owned()) }
        })
        .await;
        let log = self.log("keeps-its-session").await;
        assert!(log.lines().all(|line| line == "1"), "{log}");
    }

    async fn log(&self, container: &str) -> String {
        // Before the container starts there is none.
        self.0.try_kubectl(&["logs", "client", "--container", container]).await.unwrap_or_default()
    }
}
