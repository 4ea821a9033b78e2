from lerobot.processor.pipeline import ProcessorStep, ProcessorStepRegistry


@ProcessorStepRegistry.register(name="wanderer_pause")
class PauseStep(ProcessorStep):
    """Changes nothing."""

    def __call__(self, transition):
        return transition

    def transform_features(self, features):
        return features
