import eslint from '@eslint/js'
import tseslint from 'typescript-eslint'

export default tseslint.config(
  { ignores: ['node_modules', '.rockpool', '**/dist', 'sync-config/fixtures', 'test/fixtures'] },
  eslint.configs.recommended,
  tseslint.configs.recommended,
  {
    rules: {
      'no-undef': 'off',
      // Prettier decides the width of code, and leaves comments alone.
      'max-len': ['warn', { code: 1_000, comments: 120, ignoreUrls: true, ignorePattern: 'eslint-disable' }],
      'no-restricted-syntax': [
        'warn',
        { selector: 'ObjectExpression > SpreadElement > ObjectExpression', message: 'Write the members one by one.' },
      ],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrorsIgnorePattern: '^_' },
      ],
    },
  },
)
