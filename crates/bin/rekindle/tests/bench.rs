//! Each benchmark runs to its end and says what it promises to say; what the figures are is not looked at.

use std::process::Command;

use serde_json::Value;

fn bench(name: &str) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_rekindle"))
        .args(["bench", name, "--rounds", "1", "-o", "json"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    // Programs get JSON and nothing else.
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["bench"], name);
    assert_eq!(report["rounds"], 1);
    assert!(report["machine"]["kernel"].is_string());
    report
}

fn names<'a>(rows: &'a Value, key: &str) -> Vec<&'a str> {
    let rows = rows.as_array().unwrap();
    rows.iter().map(|row| row[key].as_str().unwrap()).collect()
}

#[test]
fn system_calls_are_compared_with_native_and_ptrace() {
    let report = bench("syscall");
    assert_eq!(
        names(&report["calls"], "call"),
        ["getppid", "read", "futex"]
    );
    for row in report["calls"].as_array().unwrap() {
        for side in ["native_us", "sandbox_us", "ptrace_us"] {
            assert!(row[side]["median"].as_f64().unwrap() > 0.0, "{row}");
        }
        assert!(row["sandbox_over_native_us"].is_f64(), "{row}");
    }
}

#[test]
fn starts_are_compared_with_native() {
    let report = bench("start");
    let mut programs = names(&report["programs"], "program");
    let missing = report["missing"].as_array().unwrap();
    programs.extend(missing.iter().map(|name| name.as_str().unwrap()));
    programs.sort_unstable();
    assert_eq!(programs, ["node", "python", "python_imports", "static"]);
    for row in report["programs"].as_array().unwrap() {
        assert!(row["native_ms"]["median"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["ratio"].as_f64().unwrap() > 0.0, "{row}");
    }
}

#[test]
fn invocations_are_compared_with_a_bare_server() {
    let report = bench("invoke");
    let rows = report["clients"].as_array().unwrap();
    let clients: Vec<_> = rows.iter().map(|row| row["clients"].as_u64()).collect();
    assert_eq!(clients, [Some(1), Some(16)]);
    for row in rows {
        for server in ["hyper", "rekindle"] {
            let (p50, p99) = (&row[server]["p50_ms"], &row[server]["p99_ms"]);
            assert!(p50.as_f64().unwrap() > 0.0, "{row}");
            assert!(p99.as_f64().unwrap() >= p50.as_f64().unwrap(), "{row}");
        }
    }
}

#[test]
fn an_unknown_benchmark_is_refused_as_a_bad_argument() {
    let output = Command::new(env!("CARGO_BIN_EXE_rekindle"))
        .args(["bench", "speed"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("syscall"));
}
