//! `values.yaml` documents itself: its comments are the page docs/values.md, and its schema knows the same keys.

use crate::{committed, documented::Values};

const VALUES: Values =
    Values { text: include_str!("../../charts/outrigger/values.yaml"), schema: include_str!("../../charts/outrigger/values.schema.json") };

const HEAD: &str = "# The chart's values\n\n<!-- Generated from charts/outrigger/values.yaml: `UPDATE_GENERATED=1 cargo test --test chart`. -->\n\n\
    Set them with `--set image.registry=registry.example.com` or in a file for `--values`. A key that is not here, or a value of the wrong \
    kind, is refused.\n";

#[test]
fn the_page_of_values_is_generated() {
    committed::check("docs/values.md", VALUES.page(HEAD), "chart");
}

#[test]
fn each_value_has_a_comment_and_a_schema() {
    VALUES.assert_documented();
}

/// Whoever writes `key:` and nothing more takes the default away. Only replicas can be done without, for autoscalers.
#[test]
fn the_schema_misses_what_is_left_empty() {
    assert_eq!(VALUES.dispensable(), ["admission.replicas", "controllers.replicas"]);
}
