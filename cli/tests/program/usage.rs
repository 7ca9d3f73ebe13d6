//! Exit codes and messages for wrong arguments, specs and data.

use std::fs;

use crate::support::{SPEC, oxidet, project, yolo_v4};

#[test]
fn exit_codes_say_whose_turn_it_is() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    fs::write(dir.join("typo.txt"), SPEC.replace("box_matching_iou", "box_matching_uoi")).unwrap();
    fs::write(dir.join("range.txt"), SPEC.replace("box_matching_iou: 0.25", "box_matching_iou: 1.5"))
        .unwrap();
    fs::write(dir.join("nowhere.txt"), SPEC.replace("\"images\"", "\"pictures\"")).unwrap();
    for (line, code, says) in [
        ("--help", 0, "Examples:"),
        ("--version", 0, "oxidet"),
        ("paint", 2, "unrecognized subcommand"),
        ("train -e spec.txt", 2, "--results_dir"),
        ("train -e spec.txt -r out --learning_rate 3", 2, "--learning_rate"),
        ("train -e spec.txt -r out --gpus 2", 2, "--gpus"),
        ("train -e missing.txt -r out", 2, "missing.txt"),
        ("train -e typo.txt -r out", 2, "box_matching_iou"),
        ("train -e range.txt -r out", 2, "range.txt:"),
        ("train -e nowhere.txt -r out", 3, "pictures"),
        ("train -e spec.txt -r spec.txt/out", 4, "spec.txt"),
        ("evaluate -m missing.tlt -e spec.txt", 3, "missing.tlt"),
        ("evaluate -m missing.tlt -e spec.txt -k a --key-file b", 2, "--key-file"),
        ("inference -m missing.tlt -i images -e spec.txt -r out -t 1", 2, "between 0 and 1"),
        ("export -m missing.tlt --engine_file x.engine", 3, "missing.tlt"),
        ("export -m missing.tlt --target_opset 7", 2, "11..=20"),
        ("lint spec.txt", 0, "0 errors"),
        ("lint range.txt", 1, "1.5"),
        ("lint typo.txt", 2, "box_matching_uoi"),
        ("lint nowhere.txt", 0, "0 errors"),
        ("lint nowhere.txt --paths", 1, "pictures"),
    ] {
        let run = oxidet(dir, line);
        assert_eq!(run.code, code, "{line}: {}", run.told());
        assert!(run.told().contains(says), "{line}: {}", run.told());
        assert!(!run.told().contains("panicked"), "{line}: {}", run.told());
    }
}

#[test]
fn lint_prints_what_it_understood() {
    let temp = tempfile::tempdir().unwrap();
    project(temp.path());
    let run = oxidet(temp.path(), "lint spec.txt --dump json");
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json["yolov4_config"]["arch"], "cspdarknet_tiny");
    assert_eq!(json["nms_config"]["top_k"], 20);
    let run = oxidet(temp.path(), "lint spec.txt --format json");
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((json["kind"].as_str(), json["runs"].as_bool()), (Some("experiment"), Some(true)));
}

#[test]
fn shells_and_man_know_every_command() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let help = oxidet(dir, "--help").stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .collect();
    let commands: Vec<&str> = commands.into_iter().filter(|command| !command.is_empty()).collect();
    assert!(commands.contains(&"train") && commands.contains(&"gen_trt_engine"), "{help}");
    for shell in ["bash", "zsh", "fish"] {
        let run = oxidet(dir, &format!("completions {shell}"));
        assert_eq!(run.code, 0, "{}", run.told());
        assert!(commands.iter().all(|command| run.stdout.contains(command)), "{shell}");
    }
    let run = oxidet(dir, "man pages");
    assert_eq!(run.code, 0, "{}", run.told());
    for command in commands.iter().filter(|command| **command != "help") {
        let page = fs::read_to_string(dir.join(format!("pages/oxidet-{command}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{command}");
    }
    assert_eq!(yolo_v4(dir, "man others").code, 0);
    assert!(dir.join("others/yolo_v4-train.1").exists());
}
