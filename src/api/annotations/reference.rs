//! The reference page of all annotations, generated from the table.

use std::fmt::Write;

use super::{Key, SidecarKind, TABLE};

/// `docs/annotations.md`, whole.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Annotations\n\n\
         <!-- Generated from the table in src/api/annotations: `outrigger explain --annotations=markdown`. -->\n\n\
         Write them on a pod, on a pod template, or, as defaults for all pods of a namespace, on a namespace labelled\n\
         `outrigger.dev/defaults: enabled`. The pod's own word wins. An unknown key under `outrigger.dev` is a warning that names the\n\
         nearest known one; a bad value refuses the pod with a sentence that says what is allowed.\n\n\
         **Pods that are there when their namespace is labelled lack what it gives: with `repair.mode: evict`, all workloads in it are restarted.**\n",
    );
    section(&mut page, "The pod", "Which sidecars are added, and how.", None);
    section(&mut page, "vnc", "A desktop in the browser for the windows of any container.", Some(SidecarKind::Vnc));
    section(&mut page, "file-sync", "ConfigMaps and Secrets mirrored to files.", Some(SidecarKind::FileSync));
    section(&mut page, "guacamole", "Connections from Secrets into Guacamole's PostgreSQL.", Some(SidecarKind::Guacamole));
    page
}

fn section(page: &mut String, title: &str, introduction: &str, sidecar: Option<SidecarKind>) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "\n## {title}\n\n{introduction}\n");
    page.push_str("| annotation | values | default | what it does | variable |\n|---|---|---|---|---|\n");
    for key in TABLE.iter().filter(|key| key.sidecar() == sidecar) {
        page.push_str(&row(key));
    }
}

fn row(key: &Key) -> String {
    let code = |text: Option<&str>| text.map(|text| format!("`{text}`")).unwrap_or_default();
    format!("| `{}` | {} | {} | {} | {} |\n", key.name, key.kind.label(), code(key.default), key.summary, code(key.variable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_row() {
        let page = reference();
        for key in TABLE {
            assert!(page.contains(&format!("| `{}` |", key.name)), "{}", key.name);
        }
        assert_eq!(page.lines().filter(|line| line.starts_with("| `")).count(), TABLE.len());
    }
}
