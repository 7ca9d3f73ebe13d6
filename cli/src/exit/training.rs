//! Exit codes of what only the build that trains does.

use oxidet_calib::{LayerReportError, MeasureError, QuantizeError};
use oxidet_exporter::ExportError;
use oxidet_proto::tensorfile::{TensorfileError, TensorfileProblem};
use oxidet_runtime::error_chain;
use oxidet_trainer::checkpoint_file::{CheckpointFileError, CheckpointFileErrorKind};
use oxidet_trainer::convert::ConvertError;
use oxidet_trainer::data::DataError;
use oxidet_trainer::evaluate::EvaluateError;
use oxidet_trainer::train::TrainError;
use oxidet_trainer::weights::LoadFileError;

use super::{BUG, DATA, ENVIRONMENT, Failure, NO, USAGE, io_code};

impl From<CheckpointFileError> for Failure {
    fn from(error: CheckpointFileError) -> Self {
        let code = match &error.kind {
            CheckpointFileErrorKind::Io(source) => io_code(source),
            CheckpointFileErrorKind::NeedsKey => USAGE,
            _ => DATA,
        };
        Self::new(code, error_chain(&error))
    }
}

impl From<ConvertError> for Failure {
    fn from(error: ConvertError) -> Self {
        use ConvertError as E;
        let code = match error {
            E::Data(error) => return error.into(),
            E::NoSource
            | E::NoSuchFold { .. }
            | E::AlreadyKitti
            | E::SplitOfFolder
            | E::EmptyValidation { .. } => USAGE,
            E::Write { .. } => ENVIRONMENT,
            _ => DATA,
        };
        Self::new(code, error_chain(&error))
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        let code = if let DataError::Io { source, .. } = &error { io_code(source) } else { DATA };
        Self::new(code, error_chain(&error))
    }
}

impl From<EvaluateError> for Failure {
    fn from(error: EvaluateError) -> Self {
        match error {
            EvaluateError::Data(error) => error.into(),
            error => Self::new(DATA, error_chain(&error)),
        }
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        Self::new(DATA, error_chain(&error))
    }
}

impl From<LayerReportError> for Failure {
    fn from(error: LayerReportError) -> Self {
        match error {
            LayerReportError::Quantize(error) => error.into(),
            error => Self::new(DATA, error_chain(&error)),
        }
    }
}

impl From<LoadFileError> for Failure {
    fn from(error: LoadFileError) -> Self {
        match error {
            LoadFileError::File(error) => error.into(),
            error => Self::new(DATA, error_chain(&error)),
        }
    }
}

impl From<MeasureError> for Failure {
    fn from(error: MeasureError) -> Self {
        Self::new(DATA, error_chain(&error))
    }
}

impl From<QuantizeError> for Failure {
    fn from(error: QuantizeError) -> Self {
        let code = if let QuantizeError::NoSuchLayer(_) = error { USAGE } else { DATA };
        Self::new(code, error_chain(&error))
    }
}

impl From<TensorfileError> for Failure {
    fn from(error: TensorfileError) -> Self {
        let code = if let TensorfileProblem::Unwritten(_) = error.problem { ENVIRONMENT } else { DATA };
        Self::new(code, error_chain(&error))
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        let code = match error {
            TrainError::Data(error) => return error.into(),
            TrainError::Checkpoint(error) => return error.into(),
            TrainError::Pretrain(error) => return error.into(),
            TrainError::Spec(_) | TrainError::Net(_) => USAGE,
            TrainError::Weights { .. } => DATA,
            TrainError::Io { .. } => ENVIRONMENT,
            TrainError::Diverged { .. } => NO,
            _ => BUG,
        };
        Self::new(code, error_chain(&error))
    }
}
