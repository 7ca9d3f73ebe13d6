//! The `oxidet` program.

fn main() -> std::process::ExitCode {
    oxidet_cli::main("oxidet")
}
