//! Each benchmark runs to its end and says what it promises to say; what the figures are is not looked at.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The program that people call, which executes the one with the benchmarks beside it.
fn rekindle() -> PathBuf {
    let rekindle = Path::new(env!("CARGO_BIN_EXE_rekindle-bench")).with_file_name("rekindle");
    assert!(
        rekindle.exists(),
        "there is no {}: tests of the whole workspace build it, else `cargo build -p rekindle` does",
        rekindle.display()
    );
    rekindle
}

fn bench(name: &str) -> Value {
    bench_with(name, &[])
}

fn bench_with(name: &str, arguments: &[&str]) -> Value {
    let output = Command::new(rekindle())
        .args(["bench", name, "--rounds", "1", "-o", "json"])
        .args(arguments)
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
fn exits_are_counted_by_reason_on_each_platform() {
    let report = bench("exits");
    assert_eq!(
        names(&report["costs"], "exit"),
        ["getppid", "touch", "sweep"]
    );
    let rows = report["programs"].as_array().unwrap();
    let of = |platform: &str| {
        let mut rows = rows.iter().filter(|row| row["platform"] == platform);
        rows.find(|row| row["program"] == "static").cloned()
    };
    let process = of("process").unwrap();
    assert!(process["exits"]["call"].as_u64() > Some(5), "{process}");
    // The host fills the pages of its processes itself.
    assert_eq!(process["exits"]["fill"], 0, "{process}");
    if !std::path::Path::new("/dev/kvm").exists() {
        assert!(report["missing"].to_string().contains("kvm: "), "{report}");
        return;
    }
    let kvm = of("kvm").unwrap();
    assert!(kvm["exits"]["call"].as_u64() > Some(5), "{kvm}");
    assert!(kvm["exits"]["fill"].as_u64() > Some(5), "{kvm}");
    for cost in report["costs"].as_array().unwrap() {
        for side in ["native_us", "process_us", "kvm_us"] {
            assert!(cost[side]["median"].as_f64() > Some(0.0), "{cost}");
        }
    }
}

#[test]
fn threads_are_resumed_at_once_and_in_turn() {
    resumed("process");
}

#[test]
fn threads_are_resumed_at_once_and_in_turn_on_kvm() {
    resumed("kvm");
}

fn resumed(platform: &str) {
    let report = bench_with("resume", &["--platform", platform]);
    assert_eq!(report["platform"], platform);
    let rows = report["resumed"].as_array().unwrap();
    let threads: Vec<_> = rows.iter().map(|row| row["threads"].as_u64()).collect();
    assert_eq!(threads, [1, 2, 4, 8, 16, 32].map(Some));
    for row in rows {
        assert!(row["floor_us"]["median"].as_f64() > Some(0.0), "{row}");
        for form in ["thaw", "restore"] {
            for order in ["parallel_us", "sequential_us"] {
                assert!(row[form][order]["median"].as_f64() > Some(0.0), "{row}");
            }
            assert!(row[form]["sequential_over_parallel"].is_f64(), "{row}");
        }
    }
}

#[test]
fn a_benchmark_takes_the_platform_that_it_is_given_on_kvm() {
    let report = bench_with("syscall", &["--platform", "kvm"]);
    assert_eq!(report["platform"], "kvm");
    let more = ["--platform", "kvm", "--only", "python_hello"];
    let report = bench_with("restore-rate", &more);
    assert!(count(&report["functions"][0]["started"]) > 0, "{report}");
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

/// Every answer is accounted for, and restored ones alone make figures of restores.
fn count(started: &Value) -> u64 {
    assert_eq!(started["failed"], 0, "{started}");
    ["restored", "cold", "warm"]
        .iter()
        .map(|kind| started[kind].as_u64().unwrap())
        .sum()
}

#[test]
fn cold_starts_are_compared_with_native_and_the_floor() {
    let report = bench_with(
        "cold-start",
        &["--instances", "8", "--only", "python_hello"],
    );
    let workload = &report["workloads"][0];
    assert_eq!(workload["workload"], "python_hello");
    assert!(
        workload["floor"]["mappings"].as_u64() > Some(10),
        "{workload}"
    );
    let rows = workload["rows"].as_array().unwrap();
    let at_once: Vec<_> = rows.iter().map(|row| row["at_once"].as_u64()).collect();
    assert_eq!(at_once, [Some(1), Some(8)]);
    for row in rows {
        for form in ["without", "native", "floor"] {
            assert!(row[form]["p50_ms"].as_f64() > Some(0.0), "{row}");
            assert!(
                row[form]["p99_ms"].as_f64() >= row[form]["p50_ms"].as_f64(),
                "{row}"
            );
        }
        count(&row["started"]);
        let restored = row["started"]["restored"].as_u64();
        let counted = row["restored"]["count"].as_u64().unwrap_or(0);
        assert_eq!(Some(counted), restored, "{row}");
        assert_eq!(row["restored_over_floor"].is_f64(), counted > 0, "{row}");
    }
}

#[test]
fn restores_are_counted_by_what_the_server_says() {
    let report = bench_with("restore-rate", &["--only", "python_hello"]);
    let row = &report["functions"][0];
    assert!(count(&row["started"]) > 0, "{row}");
    let restored = row["started"]["restored"].as_u64().unwrap() > 0;
    assert_eq!(
        row["restored_per_second_per_cpu"].is_object(),
        restored,
        "{row}"
    );
}

#[test]
fn instances_are_weighed_and_all_of_them_answer() {
    let report = bench_with("density", &["--instances", "3", "--only", "python"]);
    let row = &report["functions"][0];
    assert!(count(&row["started"]) >= 3, "{row}");
    assert!(row["stopped"].is_null(), "{row}");
    let step = &row["steps"][0];
    assert_eq!(step["instances"], 3);
    for of in ["newest", "mean"] {
        for part in ["kernel", "stubs"] {
            let (pss, rss) = (&step[of][part]["pss_kb"], &step[of][part]["rss_kb"]);
            assert!(
                pss.as_u64() > Some(100) && pss.as_u64() <= rss.as_u64(),
                "{step}"
            );
        }
    }
    let answering = &row["answering"];
    assert_eq!(
        (&answering["answered"], &answering["distinct"]),
        (&3.into(), &3.into())
    );
}

#[test]
fn first_calls_are_compared_with_later_ones() {
    let report = bench_with("post-jit", &["--only", "node_matrix"]);
    let row = &report["workloads"][0];
    assert_eq!(count(&row["started"]), 1);
    assert!(
        row["without_first_ms"]["median"].as_f64() > Some(0.0),
        "{row}"
    );
    assert!(
        row["without_steady_ms"]["median"].as_f64() > Some(0.0),
        "{row}"
    );
    let restored = row["started"]["restored"] == 1;
    assert_eq!(row["clone_first_over_steady"].is_f64(), restored, "{row}");
}

#[test]
fn values_of_instances_are_compared() {
    let report = bench_with("uniqueness", &["--instances", "4"]);
    let rows = report["functions"].as_array().unwrap();
    assert_eq!(names(&report["functions"], "language"), ["python", "node"]);
    for row in rows {
        count(&row["started"]);
        assert!(row["instances"].as_u64() > Some(0), "{row}");
        let duplicates = row["duplicates"].as_object().unwrap();
        assert!(duplicates.len() >= 7, "{row}");
        assert!(duplicates.values().all(|found| *found == 0), "{row}");
        assert_eq!(row["clocks"]["monotonic_backwards"], 0, "{row}");
    }
}

#[test]
fn an_unknown_benchmark_is_refused_as_a_bad_argument() {
    let output = Command::new(rekindle())
        .args(["bench", "speed"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("syscall"));
}
