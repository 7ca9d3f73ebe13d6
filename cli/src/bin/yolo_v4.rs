//! The same program under the name that TAO's scripts call.

fn main() -> std::process::ExitCode {
    oxidet_cli::main("yolo_v4")
}
