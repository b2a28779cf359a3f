"""Found structures beside hand-made methods: the job runner, contenders, sensitivity points."""
