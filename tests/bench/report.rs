//! BENCHMARKS.json and BENCHMARKS.md.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Map, Value, json};

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Puts one part's figures into both files.
pub(crate) fn record(part: &str, figures: &Value) {
    let json_file = top().join("BENCHMARKS.json");
    let mut all: Map<String, Value> =
        std::fs::read(&json_file).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
    let entry = json!({
        "commit": run("git", &["rev-parse", "--short", "HEAD"]),
        "machine": machine(),
        "command": format!("make bench BENCH={part}"),
        "figures": figures,
    });
    println!("{}", serde_json::to_string_pretty(figures).unwrap());
    all.insert(part.into(), entry);
    std::fs::write(&json_file, serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
    std::fs::write(top().join("BENCHMARKS.md"), markdown(&all)).unwrap();
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(top()).output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or(": unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{} cores, {}", cores, model.trim_start_matches(['\t', ' ', ':']))
}

fn markdown(all: &Map<String, Value>) -> String {
    let mut text = String::from(
        "# Benchmarks\n\nWritten by `make bench`; the same figures are in BENCHMARKS.json. Absolute times drift with the machine; \
         ratios were measured in one run.\n",
    );
    for (part, entry) in all {
        let field = |name: &str| entry[name].as_str().unwrap_or_default();
        write!(
            text,
            "\n## {part}\n\n`{}` at commit `{}` on {}.\n\n",
            field("command"),
            field("commit"),
            field("machine")
        )
        .unwrap();
        render(&mut text, &entry["figures"]);
    }
    text
}

/// Objects of objects become a table, everything else a list.
fn render(text: &mut String, figures: &Value) {
    for (name, value) in figures.as_object().into_iter().flatten() {
        let rows = value.as_object().filter(|o| !o.is_empty() && o.values().all(Value::is_object));
        let Some(rows) = rows else {
            writeln!(text, "- {}: {}", name.replace('_', " "), plain(value)).unwrap();
            continue;
        };
        let columns: Vec<&String> = rows.values().next().and_then(Value::as_object).unwrap().keys().collect();
        let heads: Vec<String> = columns.iter().map(|c| c.replace('_', " ")).collect();
        write!(text, "\n| {name} | {} |\n|{}\n", heads.join(" | "), "---|".repeat(columns.len() + 1))
            .unwrap();
        for (row, cells) in rows {
            let cells: Vec<String> = columns.iter().map(|c| plain(&cells[c.as_str()])).collect();
            writeln!(text, "| {row} | {} |", cells.join(" | ")).unwrap();
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Object(o) => o.iter().map(|(k, v)| format!("{k} {}", plain(v))).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
