//! The machine a figure was taken on.

use std::collections::BTreeMap;
use std::fs;

/// Facts about the machine, by name.
#[must_use]
pub fn fingerprint() -> BTreeMap<String, String> {
    let uname = rustix::system::uname();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = |key: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(key));
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
    };
    let read = |path: &str| {
        fs::read_to_string(path)
            .ok()
            .map(|text| text.trim().to_owned())
    };
    let memory = read("/proc/meminfo")
        .and_then(|text| Some(text.lines().next()?.split_once(':')?.1.trim().to_owned()));
    let virtual_machine = cpuinfo.contains(" hypervisor");
    let facts = [
        ("kernel", uname.release().to_str().ok().map(str::to_owned)),
        ("processor", cpu("model name")),
        (
            "processors",
            Some(cpuinfo.matches("processor\t").count().to_string()),
        ),
        (
            "virtual machine",
            Some(if virtual_machine { "yes" } else { "no" }.into()),
        ),
        (
            "governor",
            read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
                .or_else(|| Some("not visible".into())),
        ),
        ("memory", memory),
        ("load before", read("/proc/loadavg")),
        (
            "huge pages",
            read("/sys/kernel/mm/transparent_hugepage/enabled"),
        ),
    ];
    facts
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}
