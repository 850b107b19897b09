//! Text in columns.

/// Lines in which each cell but the last of a row is as wide as the widest of its column.
pub(super) fn columns<const WIDTH: usize>(indent: &str, rows: &[[String; WIDTH]]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..WIDTH).map(width).collect();
    rows.iter().map(|row| line(indent, row, &widths)).collect()
}

fn line(indent: &str, row: &[String], widths: &[usize]) -> String {
    let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
    format!("{indent}{}", cells.join("  ")).trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_below_each_other() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        assert_eq!(columns("  ", &[row(["a", "é", "x"]), row(["bcd", "", "y"])]), "  a    é  x\n  bcd     y\n");
    }
}
