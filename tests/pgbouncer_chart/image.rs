//! `PgBouncer`'s own image.

use std::process::Command;

use outrigger_bed::{
    gaps,
    image::pgbouncer::{Generation, package_version},
};

/// Nobody has to trust the page: these versions of Debian's packages have the fixes that it names, and no older one is put into an image.
#[test]
fn the_packages_have_the_security_updates_that_the_page_names() {
    let page = include_str!("../../docs/pgbouncer.md");
    for (generation, named) in [(Generation::Current, "1.24.1-1+deb13u2"), (Generation::Old, "1.18.0-1+deb12u1")] {
        assert!(page.contains(named), "{named}");
        let version = match package_version(generation) {
            Ok(version) => version,
            Err(why) => return gaps::skip("the_packages_have_the_security_updates_that_the_page_names", &why).unwrap(),
        };
        let compared = Command::new("dpkg").args(["--compare-versions", &version, "ge", named]).status().unwrap();
        assert!(compared.success(), "{generation:?}: {version} is older than {named}");
    }
}
