"""What a model looks at, how it is fooled, and what each of its layers sees and costs."""
