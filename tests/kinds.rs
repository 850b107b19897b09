//! The kinds: their definitions are up to date, the real API server accepts them, and both it and the offline validator judge
//! the same objects alike.

use std::{fs, path::Path};

use outrigger::api::crd;

/// The committed definitions are what the types generate.
#[test]
fn the_committed_definitions_are_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/outrigger/crds");
    for definition in crd::crds().unwrap() {
        let file = folder.join(format!("{}.yaml", definition.spec.names.plural));
        let generated = crd::crd_yaml(&definition).unwrap();
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            fs::write(&file, generated).unwrap();
            continue;
        }
        let committed = fs::read_to_string(&file).unwrap_or_default();
        assert!(committed == generated, "{} is stale; run: UPDATE_GENERATED=1 cargo test --test kinds", file.display());
    }
}
