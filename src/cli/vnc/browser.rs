//! Opens a page in the user's browser.

use std::{env, process::Stdio, time::Duration};

use anyhow::{Result, bail, ensure};
use tokio::{process::Command, time::timeout};

use crate::runtime::orphans::Orphans;

/// A program that still runs after this is the browser itself, and not one that has found none.
const FAILURE_LIMIT: Duration = Duration::from_secs(5);

/// Opens an address in the browser of the environment. The browser is the user's: it stays when we end.
///
/// # Errors
/// None could be opened; the error says what to do.
pub(super) async fn open(address: &str, orphans: &Orphans) -> Result<()> {
    let browser = env::var("BROWSER").ok().filter(|browser| !browser.is_empty());
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    ensure!(
        browser.is_some() || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY"),
        "there is no screen here that a browser could open on: open {address} yourself, or name a program in BROWSER"
    );
    let commands = commands(browser.as_deref().unwrap_or("xdg-open"), address);
    for command in &commands {
        if starts(command, orphans).await {
            return Ok(());
        }
    }
    let tried: Vec<&str> = commands.iter().filter_map(|command| command.first().map(String::as_str)).collect();
    bail!("no browser opened ({} did not): open {address} yourself, or name a program in BROWSER", tried.join(", "))
}

async fn starts(command: &[String], orphans: &Orphans) -> bool {
    let Some((program, arguments)) = command.split_first() else { return false };
    let mut command = Command::new(program);
    // A group of its own: Ctrl-C is meant for the desktop.
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let Ok((mut child, _own_child)) = orphans.spawn(&mut command) else { return false };
    match timeout(FAILURE_LIMIT, child.wait()).await {
        Ok(ended) => ended.is_ok_and(|status| status.success()),
        Err(_) => true,
    }
}

/// The commands of `BROWSER`, to be tried in their order (Eric S. Raymond, "The BROWSER project"): a colon between them, `%s` for the
/// address, which else comes last, and `%%` for a percent sign. No shell reads them.
fn commands(browser: &str, address: &str) -> Vec<Vec<String>> {
    let command = |part: &str| -> Vec<String> {
        let is_placed = part.replace("%%", "").contains("%s");
        let words = part.split_whitespace().map(|word| {
            let pieces: Vec<String> = word.split("%%").map(|piece| piece.replace("%s", address)).collect();
            pieces.join("%")
        });
        words.chain((!is_placed).then(|| address.to_owned())).collect()
    };
    browser.split(':').filter(|part| !part.trim().is_empty()).map(command).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_the_convention_has_them() {
        const ADDRESS: &str = "http://127.0.0.1:6080/";
        let table: [(&str, &[&[&str]]); 5] = [
            ("firefox", &[&["firefox", ADDRESS]]),
            ("firefox --new-window %s:w3m", &[&["firefox", "--new-window", ADDRESS], &["w3m", ADDRESS]]),
            ("view --as=100%% --to=%s", &[&["view", "--as=100%", "--to=http://127.0.0.1:6080/"]]),
            ("echo %%s", &[&["echo", "%s", ADDRESS]]),
            (": :", &[]),
        ];
        for (browser, expected) in table {
            assert_eq!(commands(browser, ADDRESS), expected, "{browser}");
        }
    }
}
