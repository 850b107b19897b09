//! The program as the first process of its container, whose children all orphans become.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

use outrigger_bed::ControlPlane;
use tokio::process::{Child, Command};

use crate::{sidecar::Site, until::until};

/// The children of a process, each with its state (`proc_pid_stat(5)`).
fn children(process: u32) -> Vec<(u32, char)> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    let children: Vec<u32> =
        lists.flat_map(|list| list.split_whitespace().map(|child| child.parse().unwrap()).collect::<Vec<_>>()).collect();
    let state = |child: &u32| {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next().map(|state| (*child, state))
    };
    children.iter().filter_map(state).collect()
}

/// Runs the program as the first process of a namespace, which ends when this is dropped.
fn start_first(program: &Command, log: &Path) -> Child {
    let mut namespace = Command::new("unshare");
    namespace.args(["--user", "--map-root-user", "--pid", "--mount-proc", "--fork", "--kill-child"]);
    namespace.arg(program.as_std().get_program()).args(program.as_std().get_args());
    namespace.envs(program.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    namespace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(log).unwrap()).kill_on_drop(true);
    namespace.spawn().unwrap()
}

fn write_script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn how_the_program_of_a_kubeconfig_ended_is_told_to_whoever_started_it() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    // It is run for each request. What it leaves behind holds its pipe for a while, so that its own end is asked for late.
    let credential = r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential",
        "status":{"token":"for nobody","expirationTimestamp":"2020-01-01T00:00:00Z"}}"#;
    write_script(&program, &format!("#!/bin/sh\n(sleep 1 &)\necho '{credential}'\n"));
    let site = Site::new(ControlPlane::shared().await, "credential-program").await.with_program(&program);
    site.put("a", &[("one", "1")]).await;
    let port = outrigger_bed::free_port().unwrap().to_string();
    let log = folder.path().join("log");
    let _namespace = start_first(&site.command(&[("HEALTH_PORT", &port)]), &log);
    site.until_files(&[("one", "1")]).await;
    let said = fs::read_to_string(&log).unwrap();
    assert!(!said.contains("No child process"), "{said}");
}

#[tokio::test]
async fn what_a_script_leaves_behind_is_reaped_and_the_scripts_own_end_is_known() {
    let site = Site::new(ControlPlane::shared().await, "first-process").await;
    let folder = tempfile::tempdir().unwrap();
    let (script, gate) = (folder.path().join("script"), folder.path().join("gate"));
    assert!(std::process::Command::new("mkfifo").arg(&gate).status().unwrap().success());
    // One orphan ends before the script does, the other when the gate opens, long after. The second run fails.
    let text = format!(
        "#!/bin/sh\n(true &)\n(read line < {gate} &)\nif [ -e {done} ]; then exit 7; fi\ntouch {done}\n",
        gate = gate.display(),
        done = folder.path().join("done").display()
    );
    write_script(&script, &text);
    site.put("a", &[("one", "1")]).await;

    let port = outrigger_bed::free_port().unwrap().to_string();
    let program = site.command(&[("SCRIPT", &script.display().to_string()), ("REQ_RETRY_TOTAL", "0"), ("HEALTH_PORT", &port)]);
    let log = folder.path().join("log");
    let namespace = start_first(&program, &log);

    let said = || fs::read_to_string(&log).unwrap();
    let until_said = async |part: &str| until(part, async || if said().contains(part) { Ok(()) } else { Err(said()) }).await;
    until_said("notified").await;
    let started = async || children(namespace.id().unwrap()).first().map(|(process, _)| *process).ok_or_else(said);
    let first = until("the program runs", started).await;
    let until_children = async |count: usize| {
        until(&format!("{count} orphans are left"), async || {
            let children = children(first);
            if children.len() == count && children.iter().all(|(_, state)| *state != 'Z') { Ok(()) } else { Err(format!("{children:?}")) }
        })
        .await;
    };
    until_children(1).await;
    fs::write(&gate, "go\n").unwrap();
    until_children(0).await;
    site.put("a", &[("one", "2")]).await;
    until_said("ended with exit status: 7").await;
    fs::write(&gate, "go\n").unwrap();
    until_children(0).await;
    drop(namespace);
}
