//! The `keyledger` program.

fn main() -> std::process::ExitCode {
    keyledger::cli::run()
}
