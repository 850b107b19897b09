//! Runs the program.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) messages: String,
}

/// The program with arguments, in the repository's root, with nothing in its environment that would colour its words.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.env_remove("NO_COLOR").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program with nothing on standard input.
pub(crate) fn run(arguments: &[&str]) -> Run {
    run_on(arguments, "")
}

/// Runs the program with a text on standard input.
pub(crate) fn run_on(arguments: &[&str], input: &str) -> Run {
    run_on_bytes(arguments, input.as_bytes())
}

pub(crate) fn run_on_bytes(arguments: &[&str], input: &[u8]) -> Run {
    let mut child = command(arguments).spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("it has a standard input");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || match stdin.write_all(&input) {
        // A program that was refused by its arguments never reads.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    });
    let ended = child.wait_with_output().expect("the program ends");
    writer.join().expect("the writer ends").expect("the input is written");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program writes UTF-8");
    Run { code: ended.status.code(), output: text(ended.stdout), messages: text(ended.stderr) }
}

/// The output of a run that must succeed.
pub(crate) fn output(arguments: &[&str], input: &str) -> String {
    let run = run_on(arguments, input);
    assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.messages);
    run.output
}

/// A directory of files that goes with the test.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            fs::write(directory.path().join(name), text).expect("written");
        }
        Self(directory)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

/// A pod with annotations and further fields of its spec, as YAML on a few lines.
pub(crate) fn pod(annotations: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p, annotations: {{{annotations}}}}}\nspec: {{containers: [{{name: app, image: app}}]{spec}}}\n"
    )
}

/// The annotation that asks for a desktop.
pub(crate) const VNC: &str = "outrigger.dev/inject: vnc";
