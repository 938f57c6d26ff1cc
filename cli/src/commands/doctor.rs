//! `vyr doctor`: what this machine offers to a node, and what to do where it falls short.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use rustix::process::{Resource, getrlimit};
use serde::Serialize;
use vyr_shard::rt::{ExecutorChoice, decide};

use super::user_dir;
use crate::arguments::{Doctor, Format};
use crate::{failure, output};

/// Oldest kernel that VYR is tested on.
const KERNEL_MIN: (u32, u32) = (5, 10);
/// Locked memory that io_uring needs, bytes, where the kernel still counts it.
const MEMLOCK_BYTES_MIN: u64 = 512 << 10;
/// Open files that a busy shard needs.
const FILES_MIN: u64 = 8192;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Check {
    fn new(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Ok,
            found: found.into(),
            remedy: None,
        }
    }

    fn unless(mut self, good: bool, verdict: Verdict, remedy: impl Into<String>) -> Self {
        if !good {
            self.verdict = verdict;
            self.remedy = Some(remedy.into());
        }
        self
    }
}

pub(crate) fn run(arguments: &Doctor) -> anyhow::Result<ExitCode> {
    let data_dir = match &arguments.data_dir {
        Some(dir) => dir.clone(),
        None => user_dir("XDG_DATA_HOME", ".local/share")?,
    };
    let mut checks = vec![kernel(), pagemap_scan()];
    checks.extend(executors());
    checks.extend([
        memlock(),
        cpus(),
        seccomp(),
        governor(),
        files(),
        directory(&data_dir),
    ]);
    if arguments.output == Format::Json {
        output::json(&checks)?;
    } else {
        let rows: Vec<_> = checks
            .iter()
            .map(|check| {
                let verdict = match check.verdict {
                    Verdict::Ok => "ok",
                    Verdict::Warn => "warn",
                    Verdict::Fail => "FAIL",
                };
                let remedy = check
                    .remedy
                    .as_ref()
                    .map_or_else(String::new, |remedy| format!("; {remedy}"));
                [
                    verdict.to_owned(),
                    check.name.to_owned(),
                    format!("{}{remedy}", check.found),
                ]
            })
            .collect();
        output::table(["", "CHECK", "FOUND"], &rows)?;
    }
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    Ok(if failed {
        ExitCode::from(failure::FAILED)
    } else {
        ExitCode::SUCCESS
    })
}

/// The kernel's version as far as it is two numbers.
fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

fn kernel() -> Check {
    let release = release();
    let good = kernel_version(&release) >= KERNEL_MIN;
    let remedy = format!(
        "VYR is tested from Linux {}.{} on; use a newer kernel",
        KERNEL_MIN.0, KERNEL_MIN.1
    );
    Check::new("kernel", release).unless(good, Verdict::Warn, remedy)
}

fn pagemap_scan() -> Check {
    let has = kernel_version(&release()) >= (6, 7);
    Check::new(
        "PAGEMAP_SCAN",
        if has { "available" } else { "not available" },
    )
    .unless(
        has,
        Verdict::Warn,
        "instances are recycled more slowly; Linux 6.7 or newer has it",
    )
}

fn executors() -> Vec<Check> {
    let io_uring = match decide(ExecutorChoice::IoUring) {
        Ok(_) => Check::new("io_uring", "allowed"),
        Err(error) => {
            Check::new("io_uring", "not allowed").unless(false, Verdict::Warn, error.to_string())
        }
    };
    let auto = match decide(ExecutorChoice::Auto) {
        Ok(decision) => Check::new(
            "executor",
            format!("auto takes {}: {}", decision.kind, decision.reason),
        ),
        Err(error) => {
            Check::new("executor", "none works").unless(false, Verdict::Fail, error.to_string())
        }
    };
    vec![io_uring, auto]
}

fn memlock() -> Check {
    let limit = getrlimit(Resource::Memlock).maximum;
    let found = limit.map_or_else(
        || "unlimited".to_owned(),
        |bytes| format!("{} KiB", bytes >> 10),
    );
    Check::new("locked memory", found).unless(
        limit.is_none_or(|bytes| bytes >= MEMLOCK_BYTES_MIN),
        Verdict::Warn,
        format!(
            "io_uring may need {} KiB; raise it with 'ulimit -l' or LimitMEMLOCK=",
            MEMLOCK_BYTES_MIN >> 10
        ),
    )
}

fn cpus() -> Check {
    let allowed = vyr_shard::cpu::allowed().len();
    let online = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    Check::new(
        "CPUs",
        format!("{allowed} allowed, {online} usable at once, so {allowed} shards"),
    )
    .unless(
        allowed <= online,
        Verdict::Warn,
        "a CPU quota is smaller than the set of CPUs; give --shards so many",
    )
}

fn seccomp() -> Check {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mode = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"))
        .map_or("", str::trim);
    let found = match mode {
        "0" => "no filter",
        "1" => "strict",
        "2" => "a filter is active",
        _ => "unknown",
    };
    // A filter is no fault; whether it forbids io_uring is what the io_uring line says.
    Check::new("seccomp", found)
}

fn governor() -> Check {
    let path = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    match fs::read_to_string(path) {
        Ok(governor) => {
            let governor = governor.trim();
            Check::new("frequency governor", governor).unless(
                governor == "performance",
                Verdict::Warn,
                "latencies vary with the clock; 'cpupower frequency-set -g performance'",
            )
        }
        Err(_) => Check::new("frequency governor", "none (a virtual machine, or fixed)"),
    }
}

fn files() -> Check {
    let limit = getrlimit(Resource::Nofile).current;
    let found = limit.map_or_else(|| "unlimited".to_owned(), |files| files.to_string());
    Check::new("open files", found).unless(
        limit.is_none_or(|files| files >= FILES_MIN),
        Verdict::Warn,
        format!("a busy shard needs {FILES_MIN}; raise it with 'ulimit -n' or LimitNOFILE="),
    )
}

fn directory(dir: &Path) -> Check {
    let existing = dir
        .ancestors()
        .find(|ancestor| ancestor.exists())
        .unwrap_or(Path::new("/"));
    let writable =
        existing.is_dir() && rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).is_ok();
    let found = format!(
        "{} ({})",
        dir.display(),
        if dir.exists() {
            "exists"
        } else {
            "will be made"
        }
    );
    Check::new("data directory", found).unless(
        writable,
        Verdict::Fail,
        format!(
            "{} is not a directory that can be written; give another --data-dir",
            existing.display()
        ),
    )
}
