//! The page of the provisioner names each of its settings as the program has it.

use clap::CommandFactory;
use outrigger::cli::Arguments;

#[test]
fn the_page_of_the_provisioner_names_each_setting_with_its_default() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guacamole.md")).expect("the page is there");
    let arguments = Arguments::command();
    let provisioner = arguments.find_subcommand("guacamole-provisioner").expect("the subcommand is there");
    let mut variables = Vec::new();
    for argument in provisioner.get_arguments() {
        let Some(variable) = argument.get_env() else { continue };
        let default = argument.get_default_values().first().map(|value| format!("`{}`", value.display())).unwrap_or_default();
        let row = format!("| `{}` | `--{}` | {default} | ", variable.display(), argument.get_long().expect("each has a flag"));
        assert!(page.contains(&row), "docs/guacamole.md lacks: {row}");
        variables.push(variable.display().to_string());
    }
    for row in page.lines().filter(|line| line.starts_with("| `") && line.contains("| `--")) {
        let variable = row.split('`').nth(1).expect("a name");
        assert!(variables.iter().any(|known| known == variable), "docs/guacamole.md names {variable}, which is no setting");
    }
    assert!(variables.len() >= 18, "{variables:?}");
}
