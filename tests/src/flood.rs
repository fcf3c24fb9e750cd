//! Floods of junk through a message broker, and what they cost the nodes' process.

use std::process::Command;

/// How many messages: `TSM_JUNK=1000000` makes a long night of it.
pub fn number_of_messages() -> u32 {
    std::env::var("TSM_JUNK").map_or(100_000, |number| number.parse().expect("TSM_JUNK is a number"))
}

/// No message, messages for pipes that nobody has, pipes that nobody asked for.
pub fn junk(number: u32) -> Vec<u8> {
    let pipe = number.to_le_bytes().repeat(4);
    match number % 4 {
        0 => vec![7; 100],
        1 => [[1, 3].as_slice(), &pipe, &[1, 0, 0, 0, 0, 0, 0, 0], &[255, 3], &[5; 1024]].concat(),
        2 => [[1, 1].as_slice(), &pipe, &[0; 8], &number.to_le_bytes().repeat(12)].concat(),
        _ => [[1, 6].as_slice(), &pipe, &[0; 8]].concat(),
    }
}

/// Runs an ignored test in a process of its own: tests beside it would be counted, too.
pub fn alone(test: &str) {
    let this = std::env::current_exe().expect("a test runs from a file");
    let output = Command::new(this).args(["--exact", test, "--ignored", "--nocapture"]).output();
    let output = output.expect("this test can be run again");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    #[allow(clippy::print_stdout, reason = "what it measured is part of what tests print")]
    {
        println!("{said}");
    }
    assert!(output.status.success() && said.contains("1 passed"), "{}", output.status);
}

/// Resident memory of this process in bytes.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<u64>().ok()).expect("a number of KiB") * 1024
}
