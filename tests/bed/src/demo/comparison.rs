//! What the webhook added to a pod: the unified difference between two pods as the API server has them.

use anyhow::Result;
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

/// Lines shown around each change, as `diff -u` does.
const CONTEXT_LINES: usize = 3;
/// The API server adds a volume with this name and a random end to each pod that reads its account's token.
const TOKEN_VOLUME: &str = "kube-api-access-";

/// How a pod that was stored differs from what would have been stored without us.
pub(super) struct Comparison {
    /// The lines of the unified difference; none if nothing was added.
    pub(super) lines: Vec<String>,
    /// Whether anything of the pod's author was changed or taken away.
    pub(super) has_removals: bool,
}

impl Comparison {
    /// Compares the annotations and the specification of two pods; the rest is the API server's.
    pub(super) fn new(name: &str, without: &Value, stored: &Value) -> Result<Self> {
        let (before, after) = (to_yaml(name, without)?, to_yaml(name, stored)?);
        if before == after {
            return Ok(Self { lines: Vec::new(), has_removals: false });
        }
        let compared = TextDiff::from_lines(&before, &after);
        let mut lines = vec![format!("--- {name}, as written, with the API server's defaults"), format!("+++ {name}, as stored")];
        for hunk in compared.unified_diff().context_radius(CONTEXT_LINES).iter_hunks() {
            lines.push(hunk.header().to_string());
            lines.extend(hunk.iter_changes().map(|change| format!("{}{}", change.tag(), change.value().trim_end_matches('\n'))));
        }
        let has_removals = compared.iter_all_changes().any(|change| change.tag() == ChangeTag::Delete);
        Ok(Self { lines, has_removals })
    }
}

fn to_yaml(name: &str, pod: &Value) -> Result<String> {
    let mut pod = json!({"metadata": {"annotations": pod.pointer("/metadata/annotations"), "name": name}, "spec": pod.get("spec")});
    if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) {
        // The scheduler's word.
        spec.remove("nodeName");
    }
    normalize(&mut pod);
    let options = serde_saphyr::ser_options! { compact_list_indent: true };
    Ok(serde_saphyr::to_string_with_options(&pod, options)?)
}

/// Without what differs for no reason of ours: random names, and absence written in two ways.
fn normalize(value: &mut Value) {
    match value {
        Value::String(text) if text.starts_with(TOKEN_VOLUME) => text.truncate(TOKEN_VOLUME.len() - 1),
        Value::Array(items) => items.iter_mut().for_each(normalize),
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(normalize);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(before: &Value, after: &Value) -> Comparison {
        Comparison::new("pod", &json!({"spec": before}), &json!({"metadata": {"annotations": null}, "spec": after})).unwrap()
    }

    #[test]
    fn additions_are_shown_and_removals_noticed() {
        let (before, after) = (json!({"containers": [{"name": "app"}]}), json!({"containers": [{"name": "app"}, {"name": "more"}]}));
        let added = compare(&before, &after);
        assert!(added.lines.iter().any(|line| line.starts_with('+') && line.contains("name: more")), "{:?}", added.lines);
        assert!(!added.has_removals);
        assert!(compare(&after, &before).has_removals);
    }

    #[test]
    fn where_a_pod_runs_is_not_our_doing() {
        assert!(compare(&json!({"containers": []}), &json!({"containers": [], "nodeName": "node"})).lines.is_empty());
    }

    #[test]
    fn equal_pods_do_not_differ_by_the_random_name_of_a_token() {
        let pod = |name: &str| json!({"volumes": [{"name": name}]});
        assert!(compare(&pod("kube-api-access-abcde"), &pod("kube-api-access-fghij")).lines.is_empty());
    }
}
