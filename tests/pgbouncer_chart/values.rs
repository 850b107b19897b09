//! `values.yaml` documents itself: its comments are the page docs/pgbouncer-values.md, and its schema knows the same keys.

use crate::{committed, documented::Values};

const VALUES: Values =
    Values { text: include_str!("../../charts/pgbouncer/values.yaml"), schema: include_str!("../../charts/pgbouncer/values.schema.json") };

const HEAD: &str = "# The values of the chart pgbouncer\n\n\
    <!-- Generated from charts/pgbouncer/values.yaml: `UPDATE_GENERATED=1 cargo test --test pgbouncer_chart`. -->\n\n\
    An instance has the keys of `defaults`: `instances.pharia.replicas` wins over `defaults.replicas`. A key that is not here, or a value of the wrong \
    kind, is refused.\n";

#[test]
fn the_page_of_values_is_generated() {
    committed::check("docs/pgbouncer-values.md", VALUES.page(HEAD), "pgbouncer_chart");
}

#[test]
fn each_value_has_a_comment_and_a_schema() {
    VALUES.assert_documented();
}
