//! Text in aligned columns.

use std::fmt;

/// Writes a head and rows, each cell padded to the widest of its column; the last column is not padded. A cell of
/// figures alone stands at the right, so that numbers line up.
pub fn write<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> fmt::Result {
    let rows: Vec<[String; N]> = rows.into_iter().collect();
    let mut widths = head.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    line(f, head, &widths)?;
    rows.iter().try_for_each(|row| {
        let cells: [&str; N] = std::array::from_fn(|i| row[i].as_str());
        line(f, cells, &widths)
    })
}

fn line<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    cells: [&str; N],
    widths: &[usize; N],
) -> fmt::Result {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let is_number = !cell.is_empty() && cell.bytes().all(|b| b.is_ascii_digit());
        if is_number {
            text.push_str(&format!("{cell:>width$}  "));
        } else {
            text.push_str(&format!("{cell:<width$}  "));
        }
    }
    writeln!(f, "{}", text.trim_end())
}
