//! What processes use, from `/proc`.

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

    /// Time that its living threads held a processor, in user and kernel mode, nanoseconds.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        let mut sum_ns = 0;
        for process in self.members()? {
            let Ok(threads) = fs::read_dir(directory(process).join("task")) else {
                continue;
            };
            for thread in threads.flatten() {
                // `schedstat`: time on the processor, time spent waiting, time slices. Finer than
                // the ticks of `stat`. A thread may have ended meanwhile.
                let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
                let on_cpu_ns = text.split(' ').next().and_then(|text| text.parse().ok());
                sum_ns += on_cpu_ns.unwrap_or(0);
            }
        }
        Ok(sum_ns)
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
