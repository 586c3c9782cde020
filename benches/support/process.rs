//! What the kernel knows of a process: its CPU time and its memory.

use super::Result;

/// In which the kernel counts CPU time for programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time of all threads of a process so far, its own and the kernel's for it, in seconds.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything, so the fields are counted from behind it.
    let fields: Vec<&str> = stat.rsplit_once(')').ok_or("no name in stat")?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).ok_or("no time in stat");
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// Resident memory now, in MiB.
pub fn resident_mib(pid: u32) -> Result<f64> {
    status_mib(pid, "VmRSS:")
}

/// The most resident memory so far, in MiB.
pub fn peak_mib(pid: u32) -> Result<f64> {
    status_mib(pid, "VmHWM:")
}

fn status_mib(pid: u32, field: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(field)).ok_or_else(|| format!("no {field} in status"))?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no figure in status")?.parse()?;
    Ok(kib / 1024.0)
}
