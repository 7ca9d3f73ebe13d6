//! `training_config`: how long, how fast, from where.

use super::message::{enumeration, message};

message! {
    /// Epochs, batch, optimiser, schedule, and what a run starts from.
    TrainingConfig as "TrainingConfig" {
        /// Images per step; at least 1.
        batch_size_per_gpu: u32 = 1,
        /// At least 1.
        num_epochs: u32 = 2,
        /// The schedule; needed to train.
        learning_rate: Option<LearningRateConfig> = 3,
        /// Weight decay; none when omitted.
        regularizer: Option<RegularizerConfig> = 4,
        /// Needed to train.
        optimizer: Option<OptimizerConfig> = 5,
        /// Has no effect.
        cost_scaling: Option<CostScalingConfig> = 6,
        /// Epochs between checkpoints; at least 1.
        checkpoint_interval: u32 = 7,
        /// Quantisation-aware training.
        enable_qat: bool = 8,
        /// Checkpoint of a run to continue.
        resume_model_path: Option<String> = 9 in load_model,
        /// Weights to start from, by layer name.
        pretrain_model_path: Option<String> = 10 in load_model,
        /// Pruned model to retrain.
        pruned_model_path: Option<String> = 11 in load_model,
        /// Batches prepared ahead; 0 means 20.
        max_queue_size: u32 = 12,
        /// Loader threads; 0 means one less than there are processors.
        n_workers: u32 = 13,
        /// Loader processes instead of threads in the original.
        use_multiprocessing: bool = 14,
        /// Stops when the run no longer improves.
        early_stopping: Option<EarlyStopping> = 15,
        /// TensorBoard and tracking services.
        visualizer: Option<VisualizerConfig> = 16,
        /// Validates and saves an exponential moving average of the weights.
        model_ema: bool = 17,
    }
}

message! {
    /// When to stop before the last epoch.
    EarlyStopping as "EarlyStopping" {
        /// `loss` (the training loss), `validation_loss` or `mAP`.
        monitor: String = 1,
        /// Smallest improvement that counts as one; at least 0.
        min_delta: f32 = 2,
        /// Epochs without improvement before stopping; at least 1.
        patience: u32 = 3,
    }
}

message! {
    /// The learning rate over a run; p = step / steps of the run.
    LearningRateConfig as "LearningRateConfig" {
        /// Exponential rise, plateau, exponential fall.
        soft_start_annealing_schedule: Option<SoftStartAnnealingSchedule> = 1 in learning_rate,
        /// Linear rise, then cosine.
        soft_start_cosine_annealing_schedule: Option<SoftStartCosineAnnealingSchedule> = 2 in learning_rate,
    }
}

message! {
    /// Rises exponentially until p = `soft_start`, holds, falls exponentially from p = `annealing`.
    SoftStartAnnealingSchedule as "SoftStartAnnealingScheduleConfig" {
        /// Rate at both ends; above 0.
        min_learning_rate: f32 = 1,
        /// Rate of the plateau; above the minimum.
        max_learning_rate: f32 = 2,
        /// End of the rise, in [0, 1], below `annealing`.
        soft_start: f32 = 3,
        /// Start of the fall, in [0, 1].
        annealing: f32 = 4,
    }
}

message! {
    /// Rises linearly until p = `soft_start`, then follows a cosine.
    SoftStartCosineAnnealingSchedule as "SoftStartCosineAnnealingScheduleConfig" {
        /// Rate at the top; above the minimum.
        max_learning_rate: f32 = 1,
        /// End of the rise, in [0, 1].
        soft_start: f32 = 2,
        /// Rate at the start; above 0.
        min_learning_rate: f32 = 3,
    }
}

message! {
    /// One of the optimisers.
    OptimizerConfig as "OptimizerConfig" {
        /// Adam.
        adam: Option<Adam> = 1 in optimizer,
        /// Stochastic gradient descent.
        sgd: Option<Sgd> = 2 in optimizer,
        /// RMSprop.
        rmsprop: Option<RmsProp> = 3 in optimizer,
    }
}

message! {
    /// Adam.
    Adam as "AdamOptimizerConfig" {
        /// Above 0.
        epsilon: f32 = 1,
        /// In (0, 1).
        beta1: f32 = 2,
        /// In (0, 1).
        beta2: f32 = 3,
        /// Keeps the largest second moment.
        amsgrad: bool = 4,
    }
}

message! {
    /// Stochastic gradient descent.
    Sgd as "SgdOptimizerConfig" {
        /// At least 0.
        momentum: f32 = 1,
        /// Nesterov momentum.
        nesterov: bool = 2,
    }
}

message! {
    /// RMSprop.
    RmsProp as "RmspropOptimizerConfig" {
        /// Decay of the squared gradient, in (0, 1).
        rho: f32 = 1,
        /// At least 0.
        momentum: f32 = 2,
        /// Above 0.
        epsilon: f32 = 3,
        /// Subtracts the mean gradient.
        centered: bool = 4,
    }
}

enumeration! {
    /// The norm that weight decay punishes.
    RegularizerType as "RegularizationType" {
        /// No decay.
        None = 0 as "NO_REG",
        /// Sum of magnitudes.
        L1 = 1 as "L1",
        /// Sum of squares.
        L2 = 2 as "L2",
    }
}

message! {
    /// Weight decay.
    RegularizerConfig as "RegularizerConfig" {
        /// The norm.
        r#type: RegularizerType = 1,
        /// Factor, in (0, 1) unless the norm is `NO_REG`.
        weight: f32 = 2,
    }
}

message! {
    /// Has no effect.
    CostScalingConfig as "CostScalingConfig" {
        /// Has no effect.
        enabled: bool = 1,
        /// Has no effect.
        initial_exponent: f64 = 2,
        /// Has no effect.
        increment: f64 = 3,
        /// Has no effect.
        decrement: f64 = 4,
    }
}

message! {
    /// TensorBoard and tracking services.
    VisualizerConfig as "VisualizerConfig" {
        /// Writes TensorBoard events.
        enabled: bool = 1,
        /// Training images shown in them, of each epoch's first batch; 0 shows none.
        num_images: u32 = 2,
        /// Writes histograms of the weights to them, after every epoch.
        weight_histograms: bool = 3,
        /// Weights & Biases; its presence turns it on.
        wandb_config: Option<WandbConfig> = 4,
        /// ClearML; its presence turns it on.
        clearml_config: Option<ClearMlConfig> = 5,
    }
}

message! {
    /// Weights & Biases.
    WandbConfig as "WandBConfig" {
        /// Not consulted.
        enabled: bool = 1,
        /// Not used.
        key: String = 2,
        /// Project name.
        project: String = 3,
        /// Team or user.
        entity: String = 4,
        /// Not used.
        reinit: bool = 5,
        /// Run name.
        name: String = 6,
        /// Run tags.
        tags: Vec<String> = 7,
        /// Not used.
        wandb_dir: String = 8,
        /// Run notes.
        notes: String = 9,
        /// Not used.
        mode: WandbMode = 10,
    }
}

enumeration! {
    /// How Weights & Biases stores a run.
    WandbMode as "WANDB_MODE" {
        /// At once.
        Online = 0 as "ONLINE",
        /// On disk.
        Offline = 1 as "OFFLINE",
        /// Not at all.
        Disabled = 2 as "DISABLED",
    }
}

message! {
    /// ClearML.
    ClearMlConfig as "ClearMLConfig" {
        /// Project name.
        project: String = 1,
        /// Task name.
        task: String = 2,
        /// Task tags.
        tags: Vec<String> = 3,
        /// Continues the last task's id.
        reuse_last_task_id: bool = 4,
        /// Continues the last task.
        continue_last_task: bool = 5,
        /// Starts in the background.
        deferred_init: bool = 6,
    }
}
