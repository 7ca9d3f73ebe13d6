//! Writes C++ classes that override every pure function of TensorRT's interfaces, so that the fake names only those it has.

use std::fs;
use std::path::Path;

/// Interfaces behind the classes of the API; the fake overrides what the shim uses of them.
const INTERFACES: [&str; 14] = [
    "VBuilder",
    "VBuilderConfig",
    "VCudaEngine",
    "VEngineInspector",
    "VExecutionContext",
    "VHostMemory",
    "VLayer",
    "VNetworkDefinition",
    "VOptimizationProfile",
    "VRuntime",
    "VTensor",
    "VTimingCache",
    "IPluginRegistry",
    "IParser",
];

/// The header `stubs.h` for the headers in a folder: a class `Stub<interface>` for each of [`INTERFACES`].
pub fn stubs(headers: &Path) -> String {
    let names = ["NvInferImpl.h", "NvInferRuntimeCommon.h", "NvInferRuntime.h", "NvOnnxParser.h"];
    let source: String = names.iter().map(|name| fs::read_to_string(headers.join(name)).unwrap()).collect();
    let source = without_comments(&source);
    let mut out = String::from(
        "// Written by the tests.\n#pragma once\n#include <NvInfer.h>\n#include <NvOnnxParser.h>\n",
    );
    out += "[[noreturn]] void unexpected(char const* function);\n";
    out += "namespace fake {\nusing namespace nvinfer1;\nusing namespace nvinfer1::apiv;\nusing namespace nvonnxparser;\n";
    for interface in INTERFACES {
        out += &format!("class Stub{interface} : public {interface}\n{{\npublic:\n");
        for declaration in pure_functions(&source, interface) {
            let name = declaration.split('(').next().unwrap().rsplit([' ', '*', '&']).next().unwrap();
            out += &format!("    {declaration} override {{ unexpected(\"{interface}::{name}\"); }}\n");
        }
        out += "};\n";
    }
    out + "}\n"
}

/// Declarations without `virtual` and `= 0`.
fn pure_functions(source: &str, class: &str) -> Vec<String> {
    let body = ["class ", "class TENSORRTAPI "].iter().find_map(|before| {
        let head = format!("{before}{class}");
        source.match_indices(&head).find_map(|(at, _)| {
            let rest = &source[at + head.len()..];
            let open = rest.find(['{', ';'])?;
            let whole = !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
            (whole && rest[open..].starts_with('{')).then(|| braced(&rest[open + 1..]))
        })
    });
    let body = body.unwrap_or_else(|| panic!("no class {class} in the headers"));
    let declarations = body.split(';').filter_map(|statement| {
        let statement = statement.split_whitespace().collect::<Vec<_>>().join(" ");
        let declaration = statement.strip_suffix("= 0")?.trim_end();
        let declaration = &declaration[declaration.rfind("virtual ")? + "virtual ".len()..];
        (!declaration.starts_with('~')).then(|| declaration.to_owned())
    });
    declarations.collect()
}

/// What stands before the brace that closes.
fn braced(source: &str) -> &str {
    let mut depth = 1;
    for (at, byte) in source.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &source[..at];
        }
    }
    source
}

fn without_comments(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find('/') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (skipped, end) = match rest.get(..2) {
            Some("//") => (true, rest.find('\n').unwrap_or(rest.len())),
            Some("/*") => (true, rest.find("*/").map_or(rest.len(), |end| end + 2)),
            _ => (false, 1),
        };
        if !skipped {
            out.push('/');
        }
        rest = &rest[end..];
    }
    out + rest
}
