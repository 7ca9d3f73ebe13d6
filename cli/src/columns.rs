//! Tables for the terminal.

/// Where the words of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Letters of a column; longer words stick out.
pub const WIDEST: usize = 100;

/// Lines of `rows` under `heads`, two spaces between columns. Columns with nothing in them are left out.
pub fn columns<const N: usize>(heads: [(&str, Align); N], rows: &[[String; N]]) -> String {
    let length = |text: &str| text.chars().count();
    let widths: [usize; N] =
        std::array::from_fn(|column| match rows.iter().map(|row| length(&row[column])).max() {
            None | Some(0) => 0,
            Some(widest) => widest.max(length(heads[column].0)).min(WIDEST),
        });
    let line = |cells: [&str; N]| {
        let columns = cells.iter().zip(heads).zip(widths).filter(|(_, width)| *width > 0);
        let padded = columns.map(|((cell, (_, align)), width)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(heads.map(|(head, _)| head))];
    lines.extend(rows.iter().map(|row| line(row.each_ref().map(String::as_str))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_words() {
        let heads =
            [("name", Align::Left), ("none", Align::Left), ("n", Align::Right), ("note", Align::Left)];
        let rows = [["é", "", "1,000", ""], ["second", "", "7", "odd"]].map(|row| row.map(str::to_owned));
        assert_eq!(
            columns(heads, &rows),
            "name        n  note\n\
             é       1,000\n\
             second      7  odd"
        );
    }

    #[test]
    fn a_name_without_end_does_not_widen_the_others() {
        let rows = [["x".repeat(100_000), "1".into()], ["y".into(), "2".into()]];
        let table = columns([("name", Align::Left), ("n", Align::Right)], &rows);
        let last = table.lines().last().unwrap();
        assert_eq!(last, format!("{:<WIDEST$}  2", "y"));
    }
}
