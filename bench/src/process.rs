//! What processes use, from `/proc` and their clocks.

#![expect(
    unsafe_code,
    reason = "the clock of another process is read by the C library"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

/// A process and all its descendants.
#[derive(Debug, Clone, Copy)]
pub struct ProcessTree {
    root: u32,
}

impl ProcessTree {
    /// The tree below `root`, itself included.
    #[must_use]
    pub fn of(root: u32) -> Self {
        Self { root }
    }

    /// Time that the threads of its living processes held a processor, in user and kernel mode, nanoseconds.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        Ok(self.members()?.into_iter().map(cpu_ns).sum())
    }

    /// Memory that is resident, bytes; pages that processes share are counted in each.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        Ok(self.members()?.into_iter().map(resident_bytes).sum())
    }

    /// The processes below the root.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn children(&self) -> io::Result<Vec<u32>> {
        let mut members = self.members()?;
        members.remove(&self.root);
        Ok(members.into_iter().collect())
    }

    fn members(&self) -> io::Result<BTreeSet<u32>> {
        let parents: Vec<(u32, u32)> = fs::read_dir("/proc")?
            .flatten()
            .filter_map(|entry| {
                let process = entry.file_name().to_str()?.parse().ok()?;
                Some((process, parent(process)?))
            })
            .collect();
        let mut members = BTreeSet::from([self.root]);
        loop {
            let before = members.len();
            let children = parents
                .iter()
                .filter(|(_, parent)| members.contains(parent));
            let children: Vec<u32> = children.map(|(process, _)| *process).collect();
            members.extend(children);
            if members.len() == before {
                return Ok(members);
            }
        }
    }
}

/// Time that the threads of one process held a processor, those that have ended included; 0 when it is gone.
#[must_use]
pub fn cpu_ns(process: u32) -> u64 {
    let Ok(process) = libc::pid_t::try_from(process) else {
        return 0;
    };
    let mut clock = 0;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // Finer than the ticks in `/proc/PID/stat`, and unlike `schedstat` it counts threads that have ended.
    // SAFETY: both calls write to the variable that they are given and keep nothing.
    let failed = unsafe {
        libc::clock_getcpuclockid(process, &raw mut clock) != 0
            || libc::clock_gettime(clock, &raw mut time) != 0
    };
    if failed {
        return 0;
    }
    let [seconds, nanoseconds] =
        [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    seconds * 1_000_000_000 + nanoseconds
}

fn directory(process: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{process}"))
}

fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(directory(process).join("stat")).ok()?;
    // The name in parentheses may hold spaces and parentheses; the fields after it do not.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

/// Memory of one process that is resident, bytes; 0 when it is gone.
#[must_use]
pub fn resident_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(directory(process).join("status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_time_of_threads_that_have_ended_counts() {
        let before_ns = cpu_ns(std::process::id());
        let ten_ms = 10_000_000;
        std::thread::spawn(move || {
            let mut sum = 0_u64;
            while cpu_ns(std::process::id()) < before_ns + ten_ms {
                sum = std::hint::black_box(sum + 1);
            }
        })
        .join()
        .expect("no panic");
        assert!(cpu_ns(std::process::id()) >= before_ns + ten_ms);
        assert_eq!(cpu_ns(u32::MAX), 0);
    }

    #[test]
    fn a_tree_has_its_grandchildren_and_their_time() {
        let script = "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; read line' & read line; wait";
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        let tree = ProcessTree::of(shell.id());
        let ten_ms = 10_000_000;
        let mut used_ns = 0;
        for _ in 0..500 {
            used_ns = tree.cpu_ns().expect("/proc");
            if used_ns > ten_ms && !tree.children().expect("/proc").is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(used_ns > ten_ms, "{used_ns} ns");
        assert!(tree.resident_bytes().expect("/proc") > 100_000);
        drop(shell.stdin.take());
        shell.wait().expect("the shell ends");
    }
}
