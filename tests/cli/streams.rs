//! Input that can't be read, output that nobody reads, colour, help.

use std::fs;
use std::io::Read;

use crate::program::{Files, VNC, command, output, pod, run, run_on, run_on_bytes};

const SUBCOMMANDS: [&str; 8] = ["inject", "uninject", "diff", "explain", "validate", "crds", "completion", "man"];
const READERS: [&str; 5] = ["inject", "uninject", "diff", "explain", "validate"];

#[test]
fn input_that_cannot_be_read_fails_with_its_place() {
    let inputs: [(&[u8], &str); 4] = [
        (b"", "error: no manifest in -: the input is empty"),
        (b"a: 1\nb: \xff\n", "error: standard input:2:4: byte 8 is not UTF-8; save the file as UTF-8"),
        (b"a: 1\na: 2\n", "error: standard input:2:1: duplicate key `a`; remove one of the two"),
        (b"{\"a\": ", "error: standard input:1:7: invalid JSON"),
    ];
    for subcommand in READERS {
        for (input, message) in inputs {
            let run = run_on_bytes(&[subcommand, "-f", "-"], input);
            assert_eq!((run.code, run.output.as_str()), (Some(2), ""), "{subcommand} {input:?}");
            assert!(run.messages.contains(message), "{subcommand}: {}", run.messages);
        }
        let nothing = run(&[subcommand]);
        assert_eq!(nothing.code, Some(2));
        assert!(nothing.messages.contains("Name them with -f FILE"), "{}", nothing.messages);
        let missing = run(&[subcommand, "-f", "missing.yaml"]);
        assert_eq!(missing.code, Some(2));
        assert!(missing.messages.contains("error: can't read missing.yaml: No such file"), "{}", missing.messages);
    }
}

#[test]
fn huge_input_is_refused() {
    let run = run_on_bytes(&["inject", "-f", "-"], &vec![b'#'; (64 << 20) + 1]);
    assert_eq!(run.code, Some(2));
    assert!(run.messages.contains("standard input is larger than 64 MiB; split it"), "{}", run.messages);
}

#[test]
fn several_files_and_folders_are_read_in_order() {
    let files = Files::new(&[("b.yaml", "b: 1\n"), ("a.json", "{\"a\": 1}")]);
    fs::create_dir(files.path("inner")).expect("a directory");
    fs::write(files.path("inner/c.yml"), "c: 1\n").expect("written");
    let directory = files.path("");
    assert_eq!(output(&["inject", "-f", &files.path("b.yaml"), "-f", &files.path("a.json")], ""), "b: 1\n---\na: 1\n");
    assert_eq!(output(&["inject", "-f", &directory], ""), "a: 1\n---\nb: 1\n");
    assert_eq!(output(&["inject", "-f", &directory, "-R"], ""), "a: 1\n---\nb: 1\n---\nc: 1\n");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    // Far more than a pipe holds, so that the program is still writing when its reader leaves.
    let documents = "---\nkind: Other\n".repeat(100_000);
    let files = Files::new(&[("many.yaml", &documents)]);
    let mut child = command(&["inject", "-f", &files.path("many.yaml")]).spawn().expect("the program starts");
    let mut first = [0; 5];
    child.stdout.take().expect("it has an output").read_exact(&mut first).expect("it writes");
    assert_eq!(&first, b"kind:");
    let ended = child.wait_with_output().expect("the program ends");
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

#[test]
fn colour_is_for_terminals_or_on_demand() {
    let arguments = ["diff", "-f", "examples/vnc.yaml"];
    assert!(!run(&arguments).output.contains('\u{1b}'), "a pipe is no terminal");
    let coloured = run(&[&arguments[..], &["--color", "always"]].concat());
    assert!(coloured.output.contains("\u{1b}[32m+  - name: outrigger-vnc\u{1b}[0m\n"), "{}", coloured.output);
    let never = run(&[&arguments[..], &["--color", "never"]].concat());
    assert!(!never.output.contains('\u{1b}') && !never.messages.contains('\u{1b}'));
}

#[test]
fn messages_go_to_standard_error_alone() {
    let run = run_on(&["inject", "-f", "-"], &pod(&format!("{VNC}, vnc.outrigger.dev/geometri: 1x1"), ""));
    assert_eq!(run.code, Some(0));
    assert!(run.messages.contains("warning: standard input:1: Pod/p: unknown annotation vnc.outrigger.dev/geometri: did you mean"));
    assert!(!run.output.contains("did you mean"), "{}", run.output);
}

#[test]
fn every_subcommand_has_help_with_examples() {
    for subcommand in SUBCOMMANDS {
        let help = output(&[subcommand, "--help"], "");
        assert!(help.contains("Examples:\n"), "{help}");
    }
    for subcommand in READERS {
        assert!(output(&[subcommand, "--help"], "").contains("Exit codes"), "{subcommand}");
        assert_eq!(run(&[subcommand, "--no-such-flag"]).code, Some(2), "{subcommand}");
    }
}
